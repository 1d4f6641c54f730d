"""Metrics of one number per example: MAE, RMSE and R²."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seqloom.errors import DataError
from seqloom.metrics.groups import Floats, Groups
from seqloom.metrics.receipt import TARGET_UNIT, Metric, ratio, root_ratio
from seqloom.metrics.result import Result, overall

POOLED = "over all examples with a known y"


@dataclass(frozen=True)
class Numbers:
    """N scored examples: truth and prediction, (N,) each, in the unit of y."""

    y: Floats
    y_hat: Floats


def score_number(y: Floats, y_hat: Floats, *, unit: str = "") -> Result:
    """MAE, RMSE and R², with intervals over examples.

    Args:
        y: (N,) truth, NaN where unknown; those examples are left out.
        y_hat: (N,) predictions.
        unit: unit of y, for display.

    Raises:
        DataError: lengths differ, nothing is known, or a known example has no finite prediction.
    """
    y, y_hat = np.asarray(y, np.float64), np.asarray(y_hat, np.float64)
    if y.shape != y_hat.shape:
        raise DataError(f"y has shape {y.shape} and predictions {y_hat.shape}; expected equal shapes (N,).")
    known = np.isfinite(y)
    if not known.any():
        raise DataError(f"nothing to score: 0 of {len(y)} examples have a finite y; expected at least 1.")
    lost = int((known & ~np.isfinite(y_hat)).sum())
    if lost:
        raise DataError(f"{lost} of {known.sum()} known examples have no finite prediction; expected none.")
    rows = Numbers(y[known], y_hat[known])
    return Result(overall(METRICS, rows, Groups.single(len(rows.y)), unit=unit), len(rows.y))


def absolute_error(rows: Numbers, groups: Groups) -> Floats:
    """Sums of |y − f| and of 1."""
    return groups.sums(np.abs(rows.y - rows.y_hat), np.ones_like(rows.y))


def squared_error(rows: Numbers, groups: Groups) -> Floats:
    """Sums of (y − f)² and of 1."""
    return groups.sums((rows.y - rows.y_hat) ** 2, np.ones_like(rows.y))


def spread(rows: Numbers, groups: Groups) -> Floats:
    """Sums of (y − f)², y², y and 1; y is centred first, which changes nothing but rounding."""
    centred = rows.y - rows.y.mean()
    return groups.sums((rows.y - rows.y_hat) ** 2, centred**2, centred, np.ones_like(centred))


def explained(sums: Floats) -> Floats:
    """1 − Σ(y − f)² / Σ(y − ȳ)², NaN where y is constant."""
    error, squares, total, count = np.moveaxis(sums, -1, 0)
    around = squares - total**2 / count
    # a sum of squares below the rounding of its own terms is a constant y, not a tiny variance
    share = np.full(np.shape(error), np.nan)
    return np.asarray(1 - np.divide(error, around, out=share, where=around > 1e-12 * squares))


METRICS: list[Metric[Numbers]] = [
    Metric("MAE", TARGET_UNIT, "lower", f"mean |y - f| {POOLED}.", absolute_error, ratio),
    Metric("RMSE", TARGET_UNIT, "lower", f"sqrt(mean (y - f)^2) {POOLED}.", squared_error, root_ratio),
    Metric("R2", "", "higher", f"1 - sum (y - f)^2 / sum (y - mean y)^2 {POOLED}.", spread, explained),
]
