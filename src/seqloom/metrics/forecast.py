"""Metrics of forecasts: point errors, and coverage, width and score of intervals.

Sources: Hyndman and Koehler (2006) for MASE; Gneiting and Raftery (2007), sections 6.1 and 6.2, for the
pinball loss and the interval (Winkler) score; Makridakis (1993) for sMAPE in its 0..200 form.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from seqloom.errors import DataError
from seqloom.metrics.groups import Floats, Groups
from seqloom.metrics.receipt import TARGET_UNIT, Better, Metric, percent, ratio, root_ratio
from seqloom.metrics.result import Result, by_group, overall

if TYPE_CHECKING:
    import polars as pl

COLUMNS = ("unique_id", "cutoff", "step", "y", "y_hat")
POOLED = "pooled over all observed (series, window, step); points with missing y are left out"


@dataclass(frozen=True)
class Points:
    """The N observed points of all windows, each array (N,) in the unit of y.

    Attributes:
        y: truth.
        y_hat: median forecast.
        scale: MASE scale of the point's series, NaN where it has none.
        lo, hi: bounds of the central interval, by level in percent.
    """

    y: Floats
    y_hat: Floats
    scale: Floats
    lo: Mapping[int, Floats]
    hi: Mapping[int, Floats]


def score_forecast(frame: pl.DataFrame, *, scales: Mapping[str, float], unit: str = "") -> Result:
    """All forecast metrics with intervals over windows, by series and by step.

    Args:
        frame: columns `unique_id, cutoff, step, y, y_hat` and `lo-80, hi-80`-style pairs; other columns
            are ignored. A window is one (unique_id, cutoff); missing y is null or NaN.
        scales: in-sample `seasonal_scale` of each series, for MASE.
        unit: unit of y (`°C`), for display.

    Raises:
        DataError: a column is missing, nothing is observed, or an observed point has no forecast.
    """
    levels = interval_levels(frame.columns)
    observed = _observed(frame, levels)
    points = _points(observed, scales, levels)
    windows = Groups.by(list(zip(observed["unique_id"], observed["cutoff"], strict=True)))
    metrics = forecast_metrics(levels)
    steps = by_group(metrics, points, Groups.by(observed["step"].to_list()))
    return Result(
        metrics=overall(metrics, points, windows, unit=unit),
        windows=len(windows),
        series=by_group(metrics, points, Groups.by(observed["unique_id"].to_list())),
        steps=dict(sorted(steps.items(), key=lambda item: int(item[0]))),
    )


def seasonal_scale(y: Floats, season: int) -> float:
    """In-sample mean |y_t − y_(t−m)| over the pairs where both are observed: the scale of MASE.

    Args:
        y: (T,) training part of one series, NaN where missing.
        season: m, steps per season, m ≥ 1.

    Returns:
        The scale in the unit of y, NaN when no pair is observed.
    """
    errors = np.abs(y[season:] - y[:-season])
    seen = errors[np.isfinite(errors)]
    return float(seen.mean()) if seen.size else float("nan")


def interval_levels(columns: list[str]) -> list[int]:
    """Levels in percent for which both `lo-L` and `hi-L` are among the columns, ascending."""
    found = [re.fullmatch(r"lo-(\d+)", column) for column in columns]
    return sorted(int(match[1]) for match in found if match and f"hi-{match[1]}" in columns)


def forecast_metrics(levels: list[int]) -> list[Metric[Points]]:
    """The metrics of point forecasts, then those of the intervals at `levels` (percent)."""
    intervals = [metric for level in levels for metric in _interval_metrics(level)]
    return [*POINT_METRICS, *intervals, _pinball(levels)] if levels else list(POINT_METRICS)


def absolute_error(points: Points, groups: Groups) -> Floats:
    """Sums of |y − f| and of 1."""
    return groups.sums(np.abs(points.y - points.y_hat), np.ones_like(points.y))


def squared_error(points: Points, groups: Groups) -> Floats:
    """Sums of (y − f)² and of 1."""
    return groups.sums((points.y - points.y_hat) ** 2, np.ones_like(points.y))


def symmetric_error(points: Points, groups: Groups) -> Floats:
    """Sums of 2|y − f| / (|y| + |f|), 0 for 0/0, and of 1."""
    size = np.abs(points.y) + np.abs(points.y_hat)
    gap = 2 * np.abs(points.y - points.y_hat)
    return groups.sums(np.divide(gap, size, out=np.zeros_like(gap), where=size > 0), np.ones_like(gap))


def scaled_error(points: Points, groups: Groups) -> Floats:
    """Sums of |y − f| / scale and of 1, where the scale is finite and above zero."""
    usable = np.isfinite(points.scale) & (points.scale > 0)
    gap = np.abs(points.y - points.y_hat)
    return groups.sums(np.divide(gap, points.scale, out=np.zeros_like(gap), where=usable), usable)


def signed_error(points: Points, groups: Groups) -> Floats:
    """Sums of f − y and of 1."""
    return groups.sums(points.y_hat - points.y, np.ones_like(points.y))


def relative_error(points: Points, groups: Groups) -> Floats:
    """Sums of |y − f| and of |y|."""
    return groups.sums(np.abs(points.y - points.y_hat), np.abs(points.y))


def inside(points: Points, groups: Groups, *, level: int) -> Floats:
    """Sums of [lo ≤ y ≤ hi] and of 1."""
    covered = (points.lo[level] <= points.y) & (points.y <= points.hi[level])
    return groups.sums(covered, np.ones_like(points.y))


def width(points: Points, groups: Groups, *, level: int) -> Floats:
    """Sums of hi − lo and of 1."""
    return groups.sums(points.hi[level] - points.lo[level], np.ones_like(points.y))


def winkler(points: Points, groups: Groups, *, level: int) -> Floats:
    """Sums of (hi − lo) + (2/α)·(distance of y outside the interval), α = 1 − level/100, and of 1."""
    lo, hi = points.lo[level], points.hi[level]
    outside = np.maximum(lo - points.y, 0) + np.maximum(points.y - hi, 0)
    return groups.sums(hi - lo + 2 / (1 - level / 100) * outside, np.ones_like(points.y))


def pinball(points: Points, groups: Groups, *, levels: tuple[int, ...]) -> Floats:
    """Sums of max(q(y − f_q), (q − 1)(y − f_q)), averaged over the quantiles, and of 1."""
    forecasts = {0.5: points.y_hat}
    for level in levels:
        forecasts[(100 - level) / 200] = points.lo[level]
        forecasts[(100 + level) / 200] = points.hi[level]
    losses = [np.maximum(q * (points.y - f), (q - 1) * (points.y - f)) for q, f in forecasts.items()]
    return groups.sums(np.mean(losses, axis=0), np.ones_like(points.y))


def _metric(
    name: str,
    formula: str,
    sums: Callable[[Points, Groups], Floats],
    finish: Callable[[Floats], Floats],
    *,
    unit: str = TARGET_UNIT,
    better: Better = "lower",
) -> Metric[Points]:
    return Metric(name, unit, better, f"{formula}, {POOLED}.", sums, finish)


SMAPE = "100 * mean 2|y - f| / (|y| + |f|), 0/0 counted as 0"
MASE = (
    "mean |y - f| / s, s = mean |y_t - y_(t-season)| in the series' training part over pairs where both are "
    "observed; series whose s is zero or missing are left out"
)
BIAS = "mean (f - y), positive when forecasts are too high"

POINT_METRICS = (
    _metric("MAE", "mean |y - f|", absolute_error, ratio),
    _metric("RMSE", "sqrt(mean (y - f)^2)", squared_error, root_ratio),
    _metric("sMAPE", SMAPE, symmetric_error, percent, unit="%"),
    _metric("MASE", MASE, scaled_error, ratio, unit=""),
    _metric("bias", BIAS, signed_error, ratio, better="zero"),
    _metric("WAPE", "100 * sum |y - f| / sum |y|", relative_error, percent, unit="%"),
)


def _interval_metrics(level: int) -> list[Metric[Points]]:
    of = f"of the central {level} % interval [lo, hi]"
    coverage = f"100 * mean [lo <= y <= hi] {of}, {level} is ideal"
    score = f"mean (hi - lo) + (2/{1 - level / 100:.4g}) * distance of y outside [lo, hi] {of}"
    within = partial(inside, level=level)
    return [
        _metric(f"coverage-{level}", coverage, within, percent, unit="%", better="nominal"),
        _metric(f"width-{level}", f"mean (hi - lo) {of}", partial(width, level=level), ratio),
        _metric(f"winkler-{level}", score, partial(winkler, level=level), ratio),
    ]


def _pinball(levels: list[int]) -> Metric[Points]:
    bounds = [(100 + sign * level) / 200 for level in levels for sign in (-1, 1)]
    quantiles = ", ".join(f"{q:g}" for q in sorted({0.5, *bounds}))
    loss = f"mean max(q(y - f_q), (q - 1)(y - f_q)) over quantiles {quantiles}"
    return _metric("pinball", loss, partial(pinball, levels=tuple(levels)), ratio)


def _observed(frame: pl.DataFrame, levels: list[int]) -> pl.DataFrame:
    import polars as pl

    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise DataError(
            f"forecasts to score lack the column(s) {', '.join(missing)}: got {', '.join(frame.columns)}; "
            f"expected {', '.join(COLUMNS)}. Write them with `seqloom backtest`."
        )
    numbers = ["y", "y_hat", *(f"{side}-{level}" for level in levels for side in ("lo", "hi"))]
    observed = frame.with_columns(pl.col(numbers).cast(pl.Float64)).filter(pl.col("y").is_finite())
    if observed.is_empty():
        raise DataError(
            f"nothing to score: 0 of {len(frame)} points have an observed y; expected at least 1. "
            "Move the test part to dates with observations."
        )
    for column in numbers[1:]:
        _check_finite(observed, column)
    return observed


def _check_finite(observed: pl.DataFrame, column: str) -> None:
    unusable = observed.filter(observed[column].is_finite().fill_null(False).not_())
    if unusable.is_empty():
        return
    row = unusable.row(0, named=True)
    raise DataError(
        f"{len(unusable)} of {len(observed)} observed points have no finite {column}, first: series "
        f"{row['unique_id']}, cutoff {row['cutoff']}, step {row['step']}, {column} {row[column]}; "
        "expected a number. Leaving points out would flatter the forecast: forecast every step."
    )


def _points(observed: pl.DataFrame, scales: Mapping[str, float], levels: list[int]) -> Points:
    scale = np.array([scales.get(name, np.nan) for name in observed["unique_id"]], dtype=np.float64)
    return Points(
        y=observed["y"].to_numpy(),
        y_hat=observed["y_hat"].to_numpy(),
        scale=scale,
        lo={level: observed[f"lo-{level}"].to_numpy() for level in levels},
        hi={level: observed[f"hi-{level}"].to_numpy() for level in levels},
    )
