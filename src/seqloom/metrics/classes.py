"""Metrics of class answers, shared by one answer per example and one answer per step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqloom.errors import DataError
from seqloom.metrics.calibration import BINS, expected_gap, gaps, reliability
from seqloom.metrics.groups import Floats, Groups, Indices
from seqloom.metrics.receipt import Metric, percent, ratio


@dataclass(frozen=True)
class Classes:
    """N scored answers.

    Attributes:
        y, y_hat: (N,) indices into `labels`.
        labels: all K labels, those of the model first, then true labels it does not know.
        probabilities: (N, K') over the model's own K' ≤ K labels; None where there are none.
    """

    y: Indices
    y_hat: Indices
    labels: tuple[str, ...]
    probabilities: Floats | None = None


def gather(
    y: Sequence[str | None],
    y_hat: Sequence[str],
    labels: Sequence[str],
    probabilities: Floats | None = None,
) -> Classes:
    """The rows whose y is known, labels turned into indices."""
    pairs = [(true, guess) for true, guess in zip(y, y_hat, strict=True) if true is not None]
    order: dict[str, int] = {label: index for index, label in enumerate(labels)}
    for pair in pairs:
        for label in pair:
            order.setdefault(label, len(order))
    indices = np.array([[order[label] for label in pair] for pair in pairs], np.int64).reshape(-1, 2)
    known = np.array([true is not None for true in y], bool)
    chosen = None if probabilities is None else np.asarray(probabilities, np.float64)[known]
    return Classes(indices[:, 0], indices[:, 1], tuple(order), chosen)


def hits(rows: Classes, groups: Groups) -> Floats:
    """Sums of [y = ŷ] and of 1."""
    return groups.sums(rows.y == rows.y_hat, np.ones_like(rows.y))


def class_counts(rows: Classes, groups: Groups) -> Floats:
    """For every class: true positives, true members, predicted members, (G, 3K)."""
    size = len(rows.labels)
    right = groups.counts(rows.y, size, rows.y == rows.y_hat)
    return np.concatenate([right, groups.counts(rows.y, size), groups.counts(rows.y_hat, size)], axis=1)


def macro_f1(sums: Floats) -> Floats:
    """100 × mean of 2·TP / (true + predicted) over the classes that occur at all."""
    right, true, predicted = np.split(sums, 3, axis=-1)
    members = true + predicted
    scores = np.divide(2 * right, members, out=np.zeros_like(right), where=members > 0)
    present = (members > 0).sum(axis=-1)
    total = scores.sum(axis=-1)
    mean = np.divide(total, present, out=np.full(np.shape(total), np.nan), where=present > 0)
    return np.asarray(100 * mean)


def class_metrics(unit: str) -> list[Metric[Classes]]:
    """Accuracy and macro F1 over `unit`s: `example` or `valid step`."""
    pooled = f"over all {unit}s with a known label"
    return [
        Metric("accuracy", "%", "higher", f"100 * mean [y = prediction] {pooled}.", hits, percent),
        Metric(
            "macro-F1",
            "%",
            "higher",
            f"100 * unweighted mean of 2TP / (2TP + FP + FN) over the labels that occur as truth or "
            f"prediction, {pooled}.",
            class_counts,
            macro_f1,
        ),
    ]


def surprise(rows: Classes, groups: Groups) -> Floats:
    """Sums of −ln p(true label), p kept within [ε, 1 − ε] of float64, and of 1."""
    given = _probabilities(rows)
    tiny = np.finfo(np.float64).eps
    told = rows.y < given.shape[1]
    chance = np.where(told, given[np.arange(len(rows.y)), np.where(told, rows.y, 0)], 0.0)
    return groups.sums(-np.log(np.clip(chance, tiny, 1 - tiny)), np.ones_like(chance))


def excess_confidence(rows: Classes, groups: Groups) -> Floats:
    """For every bin of confidence c, the largest probability: sums of [y = argmax p] − c; then of 1."""
    given = _probabilities(rows)
    return gaps(given.max(axis=1, initial=0.0), rows.y == given.argmax(axis=1), groups)


def _probabilities(rows: Classes) -> Floats:
    if rows.probabilities is None:
        raise DataError("this metric needs probabilities: got none; expected one row of them for each answer.")
    return rows.probabilities


def chance_metrics(unit: str) -> list[Metric[Classes]]:
    """Log-loss and calibration error over `unit`s: `example` or `valid step`."""
    return [
        Metric(
            "log-loss",
            "nat",
            "lower",
            "mean -ln p(true label), p clipped to [2.2e-16, 1 - 2.2e-16] and 0 for labels unknown to the model, "
            f"over all {unit}s with a known label.",
            surprise,
            ratio,
        ),
        Metric(
            "calibration-error",
            "%",
            "lower",
            f"100 * sum over {BINS} equally wide bins of the largest probability of ({unit}s in the bin / all) * "
            f"|share answered rightly - mean largest probability|, over all {unit}s with a known label.",
            excess_confidence,
            expected_gap,
        ),
    ]


def claims(rows: Classes) -> list[dict[str, Any]]:
    """The reliability diagram of the largest probabilities; empty without any."""
    if rows.probabilities is None:
        return []
    return reliability(rows.probabilities.max(axis=1, initial=0.0), rows.y == rows.probabilities.argmax(axis=1))


def confusion(rows: Classes) -> dict[str, Any]:
    """Counts of (true label, predicted label), rows = truth, by scikit-learn."""
    from sklearn.metrics import confusion_matrix

    counts = confusion_matrix(rows.y, rows.y_hat, labels=np.arange(len(rows.labels)))
    return {"labels": list(rows.labels), "counts": counts.tolist()}
