"""Metrics of one class per example: accuracy, macro F1, log-loss, calibration error and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seqloom.errors import DataError
from seqloom.metrics.classes import Classes, class_metrics, confusion, gather
from seqloom.metrics.groups import Floats, Groups
from seqloom.metrics.receipt import Metric, ratio
from seqloom.metrics.result import Result, overall


def score_category(
    y: Sequence[str | None],
    y_hat: Sequence[str],
    *,
    labels: Sequence[str],
    probabilities: Floats | None = None,
) -> Result:
    """Accuracy, macro F1 and (with probabilities) log-loss and calibration error, with intervals over examples.

    Args:
        y: N true labels, None where unknown; those examples are left out.
        y_hat: N predicted labels.
        labels: the model's K labels, the order of the probabilities' columns.
        probabilities: (N, K), rows summing to 1.

    Raises:
        DataError: lengths or shapes differ, or no label is known.
    """
    _check(y, y_hat, labels, probabilities)
    rows = gather(y, y_hat, labels, probabilities)
    metrics = class_metrics("example") + ([LOG_LOSS, CALIBRATION] if probabilities is not None else [])
    examples = Groups.single(len(rows.y))
    return Result(overall(metrics, rows, examples), len(examples), confusion=confusion(rows))


def surprise(rows: Classes, groups: Groups) -> Floats:
    """Sums of −ln p(true label), p kept within [ε, 1 − ε] of float64, and of 1."""
    given = rows.probabilities
    if given is None:
        raise DataError("log-loss needs probabilities: got none; expected one row per example.")
    tiny = np.finfo(np.float64).eps
    told = rows.y < given.shape[1]
    chance = np.where(told, given[np.arange(len(rows.y)), np.where(told, rows.y, 0)], 0.0)
    return groups.sums(-np.log(np.clip(chance, tiny, 1 - tiny)), np.ones_like(chance))


LOG_LOSS: Metric[Classes] = Metric(
    "log-loss",
    "nat",
    "lower",
    "mean -ln p(true label), p clipped to [2.2e-16, 1 - 2.2e-16] and 0 for labels unknown to the model, "
    "over all examples with a known label.",
    surprise,
    ratio,
)


BINS = 15


def excess_confidence(rows: Classes, groups: Groups) -> Floats:
    """For every bin of confidence c, the largest probability: sums of [y = argmax p] − c; then of 1."""
    given = rows.probabilities
    if given is None:
        raise DataError("the calibration error needs probabilities: got none; expected one row per example.")
    sure = given.max(axis=1, initial=0.0)
    gap = (rows.y == given.argmax(axis=1)) - sure
    bins = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    return groups.sums(*(gap * (bins == place) for place in range(BINS)), np.ones_like(sure))


def expected_gap(sums: Floats) -> Floats:
    """100 × sum over bins of the absolute sum of gaps, over the number of examples."""
    gaps, count = np.abs(sums[..., :-1]).sum(axis=-1), sums[..., -1]
    return np.asarray(100 * np.divide(gaps, count, out=np.full(gaps.shape, np.nan), where=count > 0))


CALIBRATION: Metric[Classes] = Metric(
    "calibration-error",
    "%",
    "lower",
    f"100 * sum over {BINS} equally wide bins of the largest probability of (examples in the bin / all) * |share "
    "answered rightly - mean largest probability|, over all examples with a known label.",
    excess_confidence,
    expected_gap,
)


def _check(y: Sequence[str | None], y_hat: Sequence[str], labels: Sequence[str], probabilities: Floats | None) -> None:
    if len(y) != len(y_hat):
        raise DataError(f"{len(y)} true labels but {len(y_hat)} predictions; expected one each per example.")
    if all(value is None for value in y):
        raise DataError(f"nothing to score: 0 of {len(y)} examples have a label; expected at least 1.")
    expected = (len(y), len(labels))
    if probabilities is not None and np.shape(probabilities) != expected:
        raise DataError(
            f"probabilities have shape {np.shape(probabilities)}; expected (examples, labels) = {expected}."
        )
