"""Metrics of one class per example: accuracy, macro F1, log-loss, calibration error and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seqloom.errors import DataError
from seqloom.metrics.classes import chance_metrics, claims, class_metrics, confusion, gather
from seqloom.metrics.groups import Floats, Groups
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
    metrics = class_metrics("example") + (chance_metrics("example") if probabilities is not None else [])
    examples = Groups.single(len(rows.y))
    return Result(overall(metrics, rows, examples), len(examples), confusion=confusion(rows), reliability=claims(rows))


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
