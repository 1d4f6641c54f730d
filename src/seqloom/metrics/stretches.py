"""F1 of whole stretches of labelled steps: names, places, events. A stretch is right when kind and both ends are.

Labels follow the BIO scheme (Ramshaw and Marcus, 1995): `B-kind` begins a stretch, `I-kind` goes on with it, anything
else is outside. As in the scorer of CoNLL-2003, an `I-kind` that follows nothing of its kind begins a stretch too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seqloom.metrics.groups import Floats, Groups
from seqloom.metrics.receipt import Metric

Stretch = tuple[str, int, int]


@dataclass(frozen=True)
class Stretches:
    """Counts of N sequences, each (N,): stretches that are both true and answered, answered, and true."""

    right: Floats
    said: Floats
    true: Floats


def count_stretches(y: Sequence[Sequence[str]], y_hat: Sequence[Sequence[str]]) -> Stretches:
    """The counts of sequences of true and of answered labels."""
    pairs = [(set(stretches(true)), set(stretches(said))) for true, said in zip(y, y_hat, strict=True)]
    counts = np.array([(len(true & said), len(said), len(true)) for true, said in pairs], np.float64).reshape(-1, 3)
    return Stretches(*counts.T)


def stretches(labels: Sequence[str]) -> list[Stretch]:
    """Kind, first step and the step after the last of every stretch."""
    found: list[Stretch] = []
    kind, start = "", 0
    for step, label in enumerate([*labels, "O"]):
        mark, _, named = label.partition("-")
        inside = mark in ("B", "I") and bool(named)
        if kind and not (mark == "I" and named == kind):
            found.append((kind, start, step))
            kind = ""
        if inside and not kind:
            kind, start = named, step
    return found


def _sums(rows: Stretches, groups: Groups) -> Floats:
    return groups.sums(2 * rows.right, rows.said + rows.true)


def _f1(sums: Floats) -> Floats:
    top, bottom = sums[..., 0], sums[..., 1]
    return np.asarray(100 * np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0))


STRETCH_F1: Metric[Stretches] = Metric(
    "span-F1",
    "%",
    "higher",
    "100 * 2 * right / (answered + true) stretches over all sequences, right where kind and both ends are; B-kind "
    "begins one, I-kind goes on or, after another kind, begins one; steps without a known label are outside in both.",
    _sums,
    _f1,
)
