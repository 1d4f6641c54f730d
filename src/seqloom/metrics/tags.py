"""Metrics of any number of tags per example: micro F1, macro F1, and how often all are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqloom.errors import DataError
from seqloom.metrics.classes import macro_f1
from seqloom.metrics.groups import Floats, Groups
from seqloom.metrics.receipt import Metric, percent
from seqloom.metrics.result import Result, overall

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Tagged:
    """N scored examples over K tags, each (N, K) bool: whether the tag is true, and whether it was answered."""

    true: Flags
    said: Flags


def score_tags(y: Sequence[Sequence[str] | None], y_hat: Sequence[Sequence[str]]) -> Result:
    """Micro and macro F1 and exact match, with intervals over examples.

    Args:
        y: the tags of each example, None where they are not known; those are left out.
        y_hat: the tags that were answered.

    Raises:
        DataError: no example's tags are known.
    """
    pairs = [(set(true), set(said)) for true, said in zip(y, y_hat, strict=True) if true is not None]
    if not pairs:
        raise DataError(f"nothing to score: the tags of 0 of {len(y)} examples are known; expected at least 1.")
    tags = sorted(set().union(*(true | said for true, said in pairs)))
    true, said = (np.array([[tag in pair[side] for tag in tags] for pair in pairs], bool) for side in (0, 1))
    rows = Tagged(true.reshape(-1, len(tags)), said.reshape(-1, len(tags)))
    return Result(overall(METRICS, rows, Groups.single(len(pairs))), len(pairs))


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
]
