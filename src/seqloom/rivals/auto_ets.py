"""AutoETS: exponential smoothing whose form is chosen by AICc, through statsforecast.

Source: Hyndman and Khandakar (2008), Automatic Time Series Forecasting: The forecast Package for R.
Exponential smoothing cannot skip a missing step, so gaps are filled for this rival only, by a straight
line within the window's history, and the notes say how many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from seqloom.errors import UsageError
from seqloom.rivals.rival import Floats, Forecasts, Window
from seqloom.rivals.seasonal_naive import SeasonalNaive

LONGEST_SEASON = 24  # above it ETS drops the season


@dataclass(frozen=True)
class AutoEts:
    """AutoETS over many windows, bounded in cost.

    The form and its parameters are fitted anew at evenly spaced windows of a series, about `fits` times
    over all series and at least once each; in between, the last fit is run over the new history.

    Attributes:
        max_history: steps of history used per window (1100 days are three years).
        fits: number of fits over all windows.
    """

    max_history: int = 1100
    fits: int = 100

    def available(self) -> str | None:
        """None with statsforecast installed, else what to install."""
        if find_spec("statsforecast") is None:
            return "statsforecast is not installed: `pip install 'seqloom[rivals]'`"
        return None

    def forecast(self, windows: Sequence[Window], horizon: int, *, season: int, levels: Sequence[int]) -> Forecasts:
        """Forecast each window; windows too short for ETS are answered by seasonal naive, and counted.

        Raises:
            UsageError: statsforecast is not installed.
        """
        if reason := self.available():
            raise UsageError(f"rival auto_ets cannot run: {reason}, or take it out of the list of rivals.")
        naive = SeasonalNaive().forecast(windows, horizon, season=season, levels=levels)
        y_hat, lo, hi = naive.y_hat, dict(naive.lo), dict(naive.hi)
        counts: Counter[str] = Counter(windows=len(windows))
        for block in self._blocks(windows, season):
            for row, answer in self._answers(block, windows, horizon, season, levels, counts):
                y_hat[row] = answer["mean"]
                for level in levels:
                    lo[level][row], hi[level][row] = answer[f"lo-{level}"], answer[f"hi-{level}"]
        return Forecasts(y_hat, lo, hi, tuple(_notes(counts, season)))

    def _blocks(self, windows: Sequence[Window], season: int) -> Iterator[list[int]]:
        """Rows that share one fit: neighbouring windows of one series, long enough for ETS."""
        every = -(-len(windows) // self.fits)
        series: dict[str, list[int]] = {}
        for row, window in enumerate(windows):
            if len(fill_gaps(window.history)) >= 2 * season + 4:
                series.setdefault(window.series, []).append(row)
        for rows in series.values():
            yield from (rows[start : start + every] for start in range(0, len(rows), every))

    def _answers(
        self,
        block: list[int],
        windows: Sequence[Window],
        horizon: int,
        season: int,
        levels: Sequence[int],
        counts: Counter[str],
    ) -> Iterator[tuple[int, dict[str, Floats]]]:
        """Row and answer of each window of a block; counts fits, answers and filled values."""
        # the fit holds the state before its first value, so later windows must start at the same step
        start = max(0, len(windows[block[0]].history) - self.max_history)
        model = _fit(fill_gaps(windows[block[0]].history[start:]), season)
        counts["fits"] += 1
        for row in block if model is not None else []:
            history = windows[row].history[start:]
            filled = fill_gaps(history)
            answer = _run(model, filled, horizon, levels)
            if answer is not None:
                counts["answered"] += 1
                counts["filled"] += int(np.isnan(history[-len(filled) :]).sum())
                yield row, answer


def fill_gaps(history: Floats) -> Floats:
    """History from its first observed value on, gaps filled by a straight line, a last gap held flat."""
    seen = np.flatnonzero(np.isfinite(history))
    if not seen.size:
        return history[:0]
    return np.interp(np.arange(seen[0], len(history)), seen, history[seen])


def _fit(filled: Floats, season: int) -> Any:
    """A fitted AutoETS, None where it finds no model for these values."""
    from statsforecast.models import AutoETS

    try:
        return AutoETS(season_length=season).fit(filled)
    except (ArithmeticError, LookupError, NotImplementedError, ValueError):
        return None  # counted by the caller: the window is answered by seasonal naive


def _run(model: Any, filled: Floats, horizon: int, levels: Sequence[int]) -> dict[str, Floats] | None:
    """Forecast after `filled` with the parameters of `model`, None where a number is not finite."""
    answer: dict[str, Floats] = model.forward(filled, horizon, level=list(levels))
    return answer if all(np.isfinite(values).all() for values in answer.values()) else None


def _notes(counts: Counter[str], season: int) -> Iterator[str]:
    yield f"Fitted {counts['fits']} times for {counts['windows']} windows and updated in between."
    if counts["filled"]:
        yield f"{counts['filled']} missing values were filled by a straight line, for AutoETS only."
    if unanswered := counts["windows"] - counts["answered"]:
        yield f"{unanswered} windows were too short or degenerate for AutoETS: seasonal naive answered them."
    if season > LONGEST_SEASON:
        yield f"ETS cannot hold a season of {season} steps (at most {LONGEST_SEASON}): run without a season."
