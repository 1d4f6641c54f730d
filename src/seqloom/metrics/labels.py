"""Metrics of one label per step, over the valid steps only."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from seqloom.errors import DataError
from seqloom.metrics.classes import chance_metrics, claims, class_metrics, confusion, gather
from seqloom.metrics.groups import Floats, Groups
from seqloom.metrics.result import Result, overall
from seqloom.metrics.stretches import STRETCH_F1, count_stretches


def score_labels(
    y: Sequence[str | None],
    y_hat: Sequence[str],
    *,
    sequence: Sequence[Hashable],
    labels: Sequence[str],
    bio: bool = False,
    probabilities: Floats | None = None,
) -> Result:
    """Per-step accuracy, macro F1 and (with probabilities) log-loss and calibration error, over whole sequences.

    Args:
        y: true label of each of the N steps, sequences laid end to end; None where a step has no
            valid label, which leaves it out.
        y_hat: N predicted labels.
        sequence: which sequence each step belongs to.
        labels: the model's labels.
        bio: labels mark stretches as B-kind and I-kind, whose F1 is measured too.
        probabilities: (N, labels), rows summing to 1.

    Raises:
        DataError: lengths differ, or no step is valid.
    """
    if not len(y) == len(y_hat) == len(sequence):
        raise DataError(
            f"{len(y)} true labels, {len(y_hat)} predictions and {len(sequence)} sequence names; "
            "expected one of each per step."
        )
    rows = gather(y, y_hat, labels, probabilities)
    if not len(rows.y):
        raise DataError(f"nothing to score: 0 of {len(y)} steps have a label; expected at least 1.")
    sequences = Groups.by([name for name, true in zip(sequence, y, strict=True) if true is not None])
    metrics = class_metrics("valid step") + (chance_metrics("valid step") if probabilities is not None else [])
    scored = overall(metrics, rows, sequences)
    if bio:
        counts = count_stretches(*(_by_sequence(said, y, sequence) for said in (y, y_hat)))
        scored = {**scored, **overall([STRETCH_F1], counts, Groups.single(len(counts.true)))}
    return Result(scored, len(sequences), confusion=confusion(rows), reliability=claims(rows))


def _by_sequence(
    labels: Sequence[str | None], y: Sequence[str | None], sequence: Sequence[Hashable]
) -> list[list[str]]:
    """The labels of each sequence; outside of everything where the truth is not known."""
    found: dict[Hashable, list[str]] = {}
    for name, label, true in zip(sequence, labels, y, strict=True):
        found.setdefault(name, []).append("O" if label is None or true is None else label)
    return list(found.values())
