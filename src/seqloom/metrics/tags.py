"""Metrics of any number of tags per example: micro F1, macro F1, and how often all are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seqloom.errors import DataError
from seqloom.metrics.calibration import BINS, Flags, expected_gap, gaps, reliability
from seqloom.metrics.classes import macro_f1
from seqloom.metrics.groups import Floats, Groups
from seqloom.metrics.receipt import Metric, percent
from seqloom.metrics.result import Result, overall


@dataclass(frozen=True)
class Tagged:
    """N scored examples over K tags, each (N, K) bool: whether the tag is true, and whether it was answered.

    `chance` (N, K') holds the probabilities of the first K' tags, those that the model knows.
    """

    true: Flags
    said: Flags
    chance: Floats


def score_tags(
    y: Sequence[Sequence[str] | None],
    y_hat: Sequence[Sequence[str]],
    *,
    labels: Sequence[str],
    probabilities: Floats,
) -> Result:
    """Micro and macro F1, exact match and calibration error, with intervals over examples.

    Args:
        y: the tags of each example, None where they are not known; those are left out.
        y_hat: the tags that were answered.
        labels: the model's tags, the order of the probabilities' columns.
        probabilities: (N, labels), of each tag by itself.

    Raises:
        DataError: no example's tags are known.
    """
    known = np.array([true is not None for true in y], bool)
    pairs = [(set(true), set(said)) for true, said in zip(y, y_hat, strict=True) if true is not None]
    if not pairs:
        raise DataError(f"nothing to score: the tags of 0 of {len(y)} examples are known; expected at least 1.")
    tags = [*labels, *sorted(set().union(*(true | said for true, said in pairs)) - set(labels))]
    true, said = (np.array([[tag in pair[side] for tag in tags] for pair in pairs], bool) for side in (0, 1))
    rows = Tagged(true, said, np.asarray(probabilities, np.float64)[known])
    held = true[:, : len(labels)].flatten()
    return Result(
        overall(METRICS, rows, Groups.single(len(pairs))),
        len(pairs),
        reliability=reliability(rows.chance.flatten(), held),
        labels={
            tag: {"true": int(t.sum()), "answered": int(s.sum()), "both": int((t & s).sum())}
            for tag, t, s in zip(tags, true.T, said.T, strict=True)
            if t.any() or s.any()
        },
    )


def _counts(rows: Tagged, groups: Groups) -> Floats:
    """For every tag: right, true, answered, (G, 3K)."""
    return groups.sums(*(rows.true & rows.said).T, *rows.true.T, *rows.said.T)


def _micro(sums: Floats) -> Floats:
    right, true, said = np.split(sums, 3, axis=-1)
    members = (true + said).sum(axis=-1)
    top = 200 * right.sum(axis=-1)
    return np.asarray(np.divide(top, members, out=np.full(members.shape, np.nan), where=members > 0))


def _all_right(rows: Tagged, groups: Groups) -> Floats:
    right = (rows.true == rows.said).all(axis=1)
    return groups.sums(right, np.ones(len(right)))


def _excess(rows: Tagged, groups: Groups) -> Floats:
    """For every bin of probability, over the model's tags of all rows: sums of [tag is true] − p; then of 1."""
    size = rows.chance.shape[1]
    each = Groups(np.repeat(groups.index, size), groups.names)
    return gaps(rows.chance.flatten(), rows.true[:, :size].flatten(), each)


METRICS: list[Metric[Tagged]] = [
    Metric(
        "F1",
        "%",
        "higher",
        "100 * 2 * right / (answered + true) tags over all examples whose tags are known.",
        _counts,
        _micro,
    ),
    Metric(
        "macro-F1",
        "%",
        "higher",
        "100 * unweighted mean of 2 * right / (answered + true) over the tags that occur as truth or answer.",
        _counts,
        macro_f1,
    ),
    Metric("exact", "%", "higher", "100 * mean [all tags of the example are right].", _all_right, percent),
    Metric(
        "calibration-error",
        "%",
        "lower",
        f"100 * sum over {BINS} equally wide bins of a tag's probability of (its statements / all) * |share of true "
        "tags - mean probability|, over all tags known to the model of all examples whose tags are known.",
        _excess,
        expected_gap,
    ),
]
