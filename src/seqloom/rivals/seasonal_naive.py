"""Seasonal naive: the next Monday will be like the last observed Monday.

    f_(T+h) = last observed y_(T+h−km), k = 1, 2, …, m steps per season

Its intervals are quantiles of its own in-sample errors y_t − y_(t−km), k = ⌈h/m⌉, added to the forecast.
Source: Hyndman and Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), sections 5.2 and 5.5.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seqloom.errors import UsageError
from seqloom.rivals.rival import Floats, Forecasts, Window


class SeasonalNaive:
    """The rival every forecast must beat; needs no fitting and never fails."""

    def available(self) -> str | None:
        """Always available."""
        return None

    def forecast(self, windows: Sequence[Window], horizon: int, *, season: int, levels: Sequence[int]) -> Forecasts:
        """Forecast each window by `seasonal_naive`, intervals by `naive_errors`."""
        shape = (len(windows), horizon)
        points = [seasonal_naive(window.history, horizon, season) for window in windows]
        y_hat = np.reshape(points, shape).astype(np.float64)
        shares = [(100 + sign * level) / 200 for level in levels for sign in (-1, 1)]
        errors = [naive_errors(window.history, horizon, season, shares) for window in windows]
        bounds = np.reshape(errors, (*shape, len(shares))) + y_hat[..., None]
        lo = {level: bounds[..., 2 * i] for i, level in enumerate(levels)}
        hi = {level: bounds[..., 2 * i + 1] for i, level in enumerate(levels)}
        return Forecasts(y_hat, lo, hi)


def seasonal_naive(history: Floats, horizon: int, season: int) -> Floats:
    """Last observed value of the same phase for each of the next steps.

    A phase never observed takes the last observed value of any phase; with none at all, 0.

    Args:
        history: (T,) values, NaN where missing.
        horizon: steps ahead, H ≥ 1.
        season: m, steps per season, m ≥ 1.

    Returns:
        (H,) forecasts.
    """
    if season < 1 or horizon < 1:
        raise UsageError(f"season is {season} and horizon {horizon}; expected at least 1 each.")
    seen = history[np.isfinite(history)]
    otherwise = seen[-1] if seen.size else 0.0
    # one row per season, laid so that the last column holds the last step of history
    seasons = np.concatenate([np.full(-len(history) % season, np.nan), history]).reshape(-1, season)
    phases = np.array([_last_seen(column, otherwise) for column in seasons.T])
    return np.resize(phases, horizon)


def naive_errors(history: Floats, horizon: int, season: int, shares: Sequence[float]) -> Floats:
    """Quantiles of the in-sample errors of `seasonal_naive` at each step ahead.

    Args:
        history: (T,) values, NaN where missing.
        horizon: steps ahead, H.
        season: m, steps per season.
        shares: Q quantile levels, each within 0..1.

    Returns:
        (H, Q). A lag with fewer than two observed pairs takes the errors of the one before it; with
        no lag to take them from the errors are 0: an interval without width, which will be seen to fail.
    """
    quantiles, known = [], np.zeros(len(shares))
    for lag in range(season, season * -(-horizon // season) + 1, season):
        errors = history[lag:] - history[:-lag]
        errors = errors[np.isfinite(errors)]
        known = np.quantile(errors, shares) if errors.size >= 2 else known
        quantiles.append(known)
    return np.repeat(quantiles, season, axis=0)[:horizon]


def _last_seen(column: Floats, otherwise: float) -> float:
    seen = column[np.isfinite(column)]
    return float(seen[-1]) if seen.size else otherwise
