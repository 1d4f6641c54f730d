"""The leak test: change the future, and no forecast may move."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from seqloom.batch import encode
from seqloom.data.segments import Column, Segments
from seqloom.data.series import select
from seqloom.errors import LeakError
from seqloom.inputs.input import Role
from seqloom.model import SequenceModel
from seqloom.outputs.output import Places
from seqloom.predict import answer


class LeakTest(NamedTuple):
    """What the test found; `largest_change` is in natural units."""

    passed: bool
    windows: int
    largest_change: float


def leak_test(model: SequenceModel, segments: Segments, places: Places, windows: int = 8) -> LeakTest:
    """Forecast some windows twice: as they are, and with everything unknowable after the origin changed.

    Every column but those declared known ahead is replaced from the origin on, through the same code that
    serves real forecasts. Static columns stay.
    """
    chosen = places.take(np.linspace(0, len(places.segment) - 1, min(windows, len(places.segment))).astype(np.int64))
    known = {c for i in model.inputs.values() if i.role is Role.KNOWN for c in i.columns}
    largest = 0.0
    for row in range(len(chosen.segment)):
        place = chosen.take(slice(row, row + 1))
        one = select(segments, place.segment)
        place = place._replace(segment=np.zeros(1, np.int64))
        changed = perturb(one, int(place.origin[0]), known)
        before, after = (answer(model, encode(s, model.inputs, {}), place).values for s in (one, changed))
        moved = [np.nanmax(np.abs(before[name] - after[name]), initial=0.0) for name in before]
        largest = max([largest, *map(float, moved)])
    return LeakTest(largest == 0.0, len(chosen.segment), largest)


def require_no_leak(found: LeakTest) -> None:
    """Raise where the test failed.

    Raises:
        LeakError: a forecast moved.
    """
    if not found.passed:
        raise LeakError(
            f"forecasts moved by up to {found.largest_change:g} when values after the origin were changed; "
            "an input shows the future: look for one whose role should be past instead of known"
        )


def perturb(segments: Segments, origin: int, known: set[str]) -> Segments:
    """A segment whose values from `origin` on are others, except in columns that are known ahead."""
    return replace(
        segments,
        steps={n: c if n in known else _other(c, origin) for n, c in segments.steps.items()},
    )


def _other(column: Column, origin: int) -> Column:
    changed = column.copy()
    if column.dtype == object:
        seen = sorted({value for value in column.tolist() if value is not None}) or ["changed"]
        changed[origin:] = [seen[k % len(seen)] for k in range(len(column) - origin)]
        return changed
    spread = float(np.nanstd(column.astype(np.float64))) if np.isfinite(column.astype(np.float64)).any() else 1.0
    random = np.random.default_rng(0).standard_normal(column[origin:].shape)
    changed[origin:] = np.nan_to_num(column[origin:].astype(np.float64)) + (1 + 100 * spread) * (1 + np.abs(random))
    return changed
