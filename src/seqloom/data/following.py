"""Which steps of a sequence are followed by one that is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from seqloom.data.segments import Column, Segments


def last_of_each(segments: Segments) -> npt.NDArray[np.bool_]:
    """(N,) whether a step is the last of its segment."""
    last = np.zeros(int(segments.offsets[-1]), bool)
    last[segments.offsets[1:][segments.lengths > 0] - 1] = True
    return last


def asks_next(segments: Segments, asked_from: Sequence[str]) -> npt.NDArray[np.bool_]:
    """(N,) whether the step after each one is there and is asked for.

    `asked_from` names static columns with the number of the first step of a segment that is asked for; missing numbers
    are 2, the first step that has one before it.
    """
    found = ~last_of_each(segments)
    number = np.arange(len(found)) - np.repeat(segments.offsets[:-1], segments.lengths) + 2
    for name in set(asked_from) & set(segments.static):
        first = np.nan_to_num(segments.static[name].astype(np.float64), nan=2.0)
        found &= number >= np.repeat(first, segments.lengths)
    return found


def following(column: Column, asked: npt.NDArray[np.bool_]) -> Column:
    """(N,) objects: the value of the step after each one whose next is asked for, else None."""
    found = np.full(len(column), None, object)
    steps = np.flatnonzero(asked)
    found[steps] = column[steps + 1]
    return found
