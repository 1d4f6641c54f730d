"""Calibration: whether what is said with probability p holds in a share p of the cases.

The expected calibration error and the reliability diagram are those of Guo, Pleiss, Sun and Weinberger (ICML 2017),
section 2: statements are put into bins of their stated probability, and in each bin the mean of that probability is
compared with the share of statements that hold.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from seqloom.metrics.groups import Floats, Groups, Indices

BINS = 15
Flags = npt.NDArray[np.bool_]


def bin_of(stated: Floats) -> Indices:
    """The bin of each probability: `BINS` of equal width, the upper edge of the last one included."""
    return np.minimum((stated * BINS).astype(np.int64), BINS - 1)


def gaps(stated: Floats, held: Flags, groups: Groups) -> Floats:
    """(G, BINS + 1): for every bin the sum of [holds] - stated; then the number of statements."""
    gap, bins = held - stated, bin_of(stated)
    return groups.sums(*(gap * (bins == place) for place in range(BINS)), np.ones_like(stated))


def expected_gap(sums: Floats) -> Floats:
    """100 × sum over bins of the absolute sum of gaps, over the number of statements."""
    missed, count = np.abs(sums[..., :-1]).sum(axis=-1), sums[..., -1]
    return np.asarray(100 * np.divide(missed, count, out=np.full(missed.shape, np.nan), where=count > 0))


def reliability(stated: Floats, held: Flags, bins: Indices | None = None) -> list[dict[str, Any]]:
    """The reliability diagram: for each bin that is not empty, the means of both sides and how many there are.

    Args:
        stated: (N,) probabilities.
        held: (N,) whether what was stated came true.
        bins: (N,) other bins than those of `bin_of`.

    Returns:
        Rows with `stated` and `held`, 0..1, and `count`, by rising probability.
    """
    bins = bin_of(stated) if bins is None else bins
    count = np.bincount(bins)
    sums = [np.bincount(bins, side.astype(np.float64)) for side in (stated, held)]
    return [
        {"stated": float(sums[0][k] / count[k]), "held": float(sums[1][k] / count[k]), "count": int(count[k])}
        for k in np.flatnonzero(count)
    ]
