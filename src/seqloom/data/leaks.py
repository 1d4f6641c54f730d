"""Finding columns that are called known ahead but tell the target.

At the origin of a forecast with horizon h, a column known ahead is read up to h steps into the future.
If it repeats the target with a delay of less than h steps, or runs ahead of it, it tells values that are
not yet known. A delay of h or more is an honest use of the past.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seqloom.data.columns import Floats
from seqloom.data.segments import Segments

SAME = 0.9999
_SAME_STEPS = 0.999
_ENOUGH = 8
# The first steps of a large table are enough to see that two columns are the same.
_LOOKED_AT = 200_000


def leaking_shift(segments: Segments, known: str, target: str, horizon: int) -> int | None:
    """The k of smallest size with `known[t]` ≈ a · `target[t + k]` + b, for -horizon < k ≤ horizon, if any.

    A trend that both columns share is no leak: their changes from step to step must agree as well.
    """
    k_values = np.asarray(segments.steps[known][:_LOOKED_AT], dtype=np.float64)
    y_values = np.asarray(segments.steps[target][:_LOOKED_AT], dtype=np.float64)
    owner = np.repeat(np.arange(len(segments)), segments.lengths)[:_LOOKED_AT]
    for shift in sorted(range(1 - horizon, horizon + 1), key=abs):
        here, there = _aligned(len(owner), shift)
        same = owner[here] == owner[there]
        if _tells(k_values[here], y_values[there], same):
            return shift
    return None


def _aligned(size: int, shift: int) -> tuple[slice, slice]:
    if shift >= 0:
        return slice(0, max(size - shift, 0)), slice(shift, size)
    return slice(-shift, size), slice(0, max(size + shift, 0))


def _tells(known: Floats, target: Floats, same: npt.NDArray[np.bool_]) -> bool:
    there = same & np.isfinite(known) & np.isfinite(target)
    if np.sum(there) < _ENOUGH or _correlation(known[there], target[there]) <= SAME:
        return False
    pairs = there[1:] & there[:-1]
    changes = _correlation(np.diff(known)[pairs], np.diff(target)[pairs])
    return changes > _SAME_STEPS


def _correlation(a: Floats, b: Floats) -> float:
    """Size of the correlation; 0 if one of both does not vary."""
    if len(a) < _ENOUGH:
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt(np.sum(a * a) * np.sum(b * b))
    return 0.0 if scale == 0 else float(abs(np.sum(a * b)) / scale)
