"""`Segments`: the sequences of one table laid end to end, the form in which all data reaches a model.

A series of a long table and a row of a table of examples are the same thing here: a *segment*, a
stretch of consecutive steps. Encoding runs once over the whole stretch; a batch is cut by index.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Segments:
    """Sequences laid end to end, with S segments and N steps in all.

    Segment s owns the steps `offsets[s]:offsets[s + 1]`; it may own none (a series with no history).

    Attributes:
        ids: name of each segment, length S.
        offsets: (S + 1,) int64, first step of each segment, then N.
        steps: columns with one value per step: (N,) or (N, F). Numbers are float64 with NaN where
            missing; anything else is an object array of `str` with None where missing.
        static: columns with one value per segment: (S,) or (S, F), same types.
        times: (N,) datetime64[us] on a regular grid within each segment, None without a time axis.
        frequency: Polars interval string of the grid (`1d`, `1h`, `1w`, `1mo`) or `1bd` for
            business days; None without a time axis.
    """

    ids: list[str]
    offsets: npt.NDArray[np.int64]
    steps: Mapping[str, Column]
    static: Mapping[str, Column]
    times: npt.NDArray[np.datetime64] | None = None
    frequency: str | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of steps of each segment, (S,)."""
        return np.diff(self.offsets)
