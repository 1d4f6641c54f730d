"""Metrics of answers that are lists of items: Hit, NDCG and MRR at k, perplexity, AUC, calibration of the lists.

Sources: Järvelin and Kekäläinen (2002) for NDCG, which for a single relevant item is 1 / log2(1 + rank); the usual
recommendation protocols for Hit@k (with one item asked for it is recall@k, also written P@k) and MRR@k.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from seqloom.errors import DataError
from seqloom.metrics.calibration import reliability
from seqloom.metrics.groups import Floats, Groups, Indices
from seqloom.metrics.receipt import Metric, percent, ratio
from seqloom.metrics.result import Result, overall

STRETCH = 500  # steps of a long sequence that are resampled together
TIES = "rank = 1 + candidates with a higher score + half of those with the same; an item unknown to training ranks last"


@dataclass(frozen=True)
class Lists:
    """N scored lists.

    Attributes:
        rank: (N,) of the true item among all candidates.
        candidates: (N,) how many there are.
        log_p: (N,) ln p(true item), NaN where it is unknown to training.
        mass: (N,) probability that the list gives itself: of the true item being in it.
        bin: (N,) tenth of the lists by mass, 0..9.
        among: (N,) rank among the drawn items, NaN where none were drawn.
    """

    rank: Floats
    candidates: Floats
    log_p: Floats
    mass: Floats
    bin: Indices
    among: Floats


def score_items(
    *,
    rank: Floats,
    candidates: Floats,
    log_p: Floats,
    mass: Floats,
    among: Floats,
    sequence: Sequence[Hashable],
    step: Indices,
    k: int,
    repeats: bool,
    negatives: int | None,
) -> Result:
    """All metrics, with intervals over whole sequences, long ones in stretches of 500 steps.

    Args:
        rank, candidates, log_p, mass, among: as in `Lists`, one each for every step that asks for an item.
        sequence: which sequence each step belongs to.
        step: number of items read at each step.
        k: length of the lists.
        repeats: whether items that the sequence holds are candidates.
        negatives: how many items were drawn for `among`.

    Raises:
        DataError: nothing is asked for.
    """
    if not len(rank):
        raise DataError(
            "nothing to score: no step asks for an item that is known; expected sequences of 2 items or more"
        )
    order = np.argsort(np.argsort(mass, kind="stable"), kind="stable")
    rows = Lists(rank, candidates, log_p, mass, order * BINS // len(order), among)
    stretches = Groups.by(list(zip(sequence, (step // STRETCH).tolist(), strict=True)))
    metrics = [*_ranking(k, repeats), *(_sampled(k, negatives) if negatives else []), *_probability(k)]
    curve = reliability(mass, rank <= k, rows.bin)
    return Result(overall(metrics, rows, stretches), len(stretches), reliability=curve)


BINS = 10


def _ranking(k: int, repeats: bool) -> list[Metric[Lists]]:
    among = "all items of the training part" + ("" if repeats else " but those that the sequence holds already")
    told = f"mean over steps that ask for an item; candidates: {among}; {TIES}."
    return [
        *_at(k, "", "rank", told),
        Metric("AUC", "", "higher", f"(candidates - rank) / (candidates - 1), {told}", _auc, ratio),
    ]


def _sampled(k: int, negatives: int) -> list[Metric[Lists]]:
    told = (
        f"mean over steps that ask for an item; candidates: it and {negatives} items of the training part, drawn "
        f"uniformly with a fixed seed among those that the sequence does not hold; {TIES}."
    )
    return _at(k, f"/{negatives + 1}", "among", told)


def _at(k: int, suffix: str, rank: str, told: str) -> list[Metric[Lists]]:
    def metric(name: str, formula: str, sums: Callable[..., Floats]) -> Metric[Lists]:
        definition = f"100 * {formula}, {told}"
        return Metric(f"{name}@{k}{suffix}", "%", "higher", definition, partial(sums, k=k, rank=rank), percent)

    return [
        metric("Hit", f"[rank <= {k}]", _hits),
        metric("NDCG", f"[rank <= {k}] / log2(1 + rank)", _gains),
        metric("MRR", f"[rank <= {k}] / rank", _inverses),
    ]


def _probability(k: int) -> list[Metric[Lists]]:
    told = "p(true item) over steps that ask for an item known to training."
    return [
        Metric("perplexity", "", "lower", f"exp of the mean of -ln {told}", _surprise, _exp_ratio),
        Metric("bits", "bit", "lower", f"mean of -log2 {told}", _surprise, _bits),
        Metric(
            f"ECE@{k}",
            "%",
            "lower",
            f"expected calibration error of the lists: 100 * mean over ten equally large groups, by the probability "
            f"that the {k} items of a list have together, of |mean of that probability - share of lists with the true "
            "item|, weighted by group size.",
            partial(_calibration, k=k),
            _gap,
        ),
        Metric(
            "unseen", "%", "lower", "100 * share of the items asked for that training never shows.", _unseen, percent
        ),
    ]


def _hits(rows: Lists, groups: Groups, *, k: int, rank: str) -> Floats:
    found = getattr(rows, rank) <= k
    return groups.sums(found, np.ones_like(found))


def _gains(rows: Lists, groups: Groups, *, k: int, rank: str) -> Floats:
    place = getattr(rows, rank)
    return groups.sums((place <= k) / np.log2(1 + place), np.ones_like(place))


def _inverses(rows: Lists, groups: Groups, *, k: int, rank: str) -> Floats:
    place = getattr(rows, rank)
    return groups.sums((place <= k) / place, np.ones_like(place))


def _auc(rows: Lists, groups: Groups) -> Floats:
    others = np.maximum(rows.candidates - 1, 1)
    return groups.sums((rows.candidates - rows.rank) / others, np.ones_like(others))


def _surprise(rows: Lists, groups: Groups) -> Floats:
    known = ~np.isnan(rows.log_p)
    return groups.sums(np.where(known, -rows.log_p, 0.0), known)


def _exp_ratio(sums: Floats) -> Floats:
    return np.asarray(np.exp(ratio(sums)))


def _bits(sums: Floats) -> Floats:
    return ratio(sums) / math.log(2)


def _calibration(rows: Lists, groups: Groups, *, k: int) -> Floats:
    """For every tenth: probability claimed, lists with the true item, lists, (G, 30)."""
    size = np.ones_like(rows.mass)
    parts = []
    for weight in (rows.mass, (rows.rank <= k).astype(np.float64), size):
        cells = groups.index * BINS + rows.bin
        parts.append(np.bincount(cells, weight, len(groups) * BINS).reshape(len(groups), BINS))
    return np.concatenate(parts, axis=1)


def _gap(sums: Floats) -> Floats:
    claimed, found, lists = np.split(sums, 3, axis=-1)
    return np.asarray(100 * np.abs(claimed - found).sum(axis=-1) / lists.sum(axis=-1))


def _unseen(rows: Lists, groups: Groups) -> Floats:
    unknown = np.isnan(rows.log_p)
    return groups.sums(unknown, np.ones_like(unknown))
