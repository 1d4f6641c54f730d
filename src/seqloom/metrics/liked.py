"""Metrics of the probability that an item is liked: AUC, log-loss, calibration error, accuracy.

The area under the curve of true against false positives (AUC) is the share of pairs of a liked item and another one in
which the liked one has the larger probability (Hanley and McNeil, 1982).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from seqloom.errors import DataError
from seqloom.metrics.calibration import BINS, Flags, expected_gap, gaps, reliability
from seqloom.metrics.groups import Floats, Groups, Indices
from seqloom.metrics.receipt import Metric, percent, ratio
from seqloom.metrics.result import Result, overall

LEVELS = 200  # groups of like probability that pairs are counted by


@dataclass(frozen=True)
class Likings:
    """N rated items.

    Attributes:
        liked: (N,) whether each was liked.
        p: (N,) the probability that was given to it.
        level: (N,) its group of like probability, rising.
    """

    liked: Flags
    p: Floats
    level: Indices


def score_liked(liked: Flags, p: Floats, *, sequence: Sequence[Hashable]) -> Result:
    """All metrics, with intervals over whole sequences.

    Args:
        liked: (N,) whether each item was liked.
        p: (N,) probabilities.
        sequence: which sequence each belongs to.

    Raises:
        DataError: nothing is rated.
    """
    if not len(liked):
        raise DataError(
            "nothing to score: no item that is asked for has a rating; expected sequences of 2 rated items or more"
        )
    rows, sequences = Likings(liked, p, levels(p)), Groups.by(sequence)
    return Result(overall(METRICS, rows, sequences), len(sequences), reliability=reliability(p, liked))


def levels(p: Floats) -> Indices:
    """(N,) the place of each value among the different ones, or where there are more than `LEVELS` of these, so many
    groups of about as many values each; equal values share one."""
    edges = np.unique(p)
    if len(edges) > LEVELS:
        edges = np.unique(np.sort(p)[np.linspace(0, len(p) - 1, LEVELS + 1).round().astype(np.int64)[1:]])
    return np.searchsorted(edges, p)


def _counts(rows: Likings, groups: Groups) -> Floats:
    """For every level: the liked items and the others, (G, 2 * LEVELS)."""
    sides = [groups.counts(rows.level, LEVELS, side) for side in (rows.liked, ~rows.liked)]
    return np.concatenate(sides, axis=1)


def _auc(sums: Floats) -> Floats:
    liked, others = np.split(sums, 2, axis=-1)
    below = others.cumsum(axis=-1) - others
    right = (liked * (below + others / 2)).sum(axis=-1)
    pairs = liked.sum(axis=-1) * others.sum(axis=-1)
    return np.asarray(np.divide(right, pairs, out=np.full(pairs.shape, np.nan), where=pairs > 0))


def _surprise(rows: Likings, groups: Groups) -> Floats:
    tiny = np.finfo(np.float64).eps
    given = np.clip(np.where(rows.liked, rows.p, 1 - rows.p), tiny, 1 - tiny)
    return groups.sums(-np.log(given), np.ones_like(given))


def _excess(rows: Likings, groups: Groups) -> Floats:
    return gaps(rows.p, rows.liked, groups)


def _right(rows: Likings, groups: Groups) -> Floats:
    return groups.sums((rows.p >= 0.5) == rows.liked, np.ones_like(rows.p))


_OVER = "over all items that are asked for and have a rating."
METRICS: list[Metric[Likings]] = [
    Metric(
        "AUC",
        "",
        "higher",
        f"share of the pairs of a liked item and another in which the liked one has the larger probability, {_OVER} "
        f"Pairs of equal probability count one half; where there are more than {LEVELS} different ones, so do pairs "
        f"within one of {LEVELS} equally large groups of like probability.",
        _counts,
        _auc,
    ),
    Metric(
        "log-loss", "nat", "lower", f"mean -ln p(what was the case), p clipped to [ε, 1 - ε], {_OVER}", _surprise, ratio
    ),
    Metric(
        "calibration-error",
        "%",
        "lower",
        f"100 * sum over {BINS} equally wide bins of the probability of (items in the bin / all) * |share liked - mean "
        f"probability|, {_OVER}",
        _excess,
        expected_gap,
    ),
    Metric("accuracy", "%", "higher", f"100 * mean [(p >= 1/2) = liked], {_OVER}", _right, percent),
]
