"""Percentile bootstrap over whole groups (windows, examples, sequences).

Rows of one window share their origin and are not independent, so a window is drawn whole or not at
all. Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and 13.
"""

from __future__ import annotations

import numpy as np

from seqloom.metrics.groups import Floats

RESAMPLES = 1000
LEVEL = 0.95
CELLS_AT_ONCE = 4_000_000  # bounds memory: resamples are drawn in blocks of about 32 MB of indices


def resample_sums(sums: Floats, *, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Totals of `resamples` draws of G groups with replacement.

    Args:
        sums: (G, k) sums of each group.
        resamples: number of draws R.
        seed: the same seed and G give the same draws, so metrics and rivals share them.

    Returns:
        (R, k) totals; NaN with fewer than two groups, where nothing can be said about spread.
    """
    groups = len(sums)
    if groups < 2:
        return np.full((resamples, sums.shape[1]), np.nan)
    random = np.random.default_rng(seed)
    block = max(1, CELLS_AT_ONCE // groups)
    totals = [_draw(sums, min(block, resamples - done), random) for done in range(0, resamples, block)]
    return np.concatenate(totals)


def percentile_interval(values: Floats, *, level: float = LEVEL) -> tuple[float, float]:
    """Central `level` share of the finite values; (NaN, NaN) when there are none."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return float("nan"), float("nan")
    lo, hi = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(lo), float(hi)


def _draw(sums: Floats, resamples: int, random: np.random.Generator) -> Floats:
    groups = len(sums)
    chosen = random.integers(0, groups, (resamples, groups))
    cells = chosen + groups * np.arange(resamples)[:, None]
    times_drawn = np.bincount(cells.ravel(), minlength=resamples * groups).reshape(resamples, groups)
    return np.asarray(times_drawn.astype(np.float64) @ sums)
