"""What a rival forecaster is: the protocol, the windows it is asked about and the forecasts it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """One forecast origin.

    Attributes:
        series: id of the series.
        history: (T,) values from the start of the series up to and including the cutoff, on the
            series' grid, NaN where missing; T may be 0.
    """

    series: str
    history: Floats


@dataclass(frozen=True)
class Forecasts:
    """Forecasts of W windows for H steps, in the unit of the histories.

    Attributes:
        y_hat: (W, H) point forecasts.
        lo, hi: (W, H) bounds of the central interval, by level in percent.
        notes: what was repaired, shortened or replaced on the way, one sentence each.
    """

    y_hat: Floats
    lo: Mapping[int, Floats]
    hi: Mapping[int, Floats]
    notes: tuple[str, ...] = ()


class ForecastRival(Protocol):
    """Forecasts windows from their own history alone."""

    def available(self) -> str | None:
        """None when it can run, else the reason why not and what to install."""

    def forecast(self, windows: Sequence[Window], horizon: int, *, season: int, levels: Sequence[int]) -> Forecasts:
        """Forecast `horizon` steps after each window, with intervals at `levels` (percent).

        Windows of one series must come in the order of their cutoffs.
        """
