"""F1 of whole stretches, by hand."""

from __future__ import annotations

import pytest

from seqloom.metrics import score_labels
from seqloom.metrics.stretches import stretches

TRUE = ["B-PER", "I-PER", "O", "B-LOC", "B-LOC", "I-LOC"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (TRUE, [("PER", 0, 2), ("LOC", 3, 4), ("LOC", 4, 6)]),
        (["I-PER", "I-LOC", "I-LOC"], [("PER", 0, 1), ("LOC", 1, 3)]),
        (["O", "B-", "B", "x-y"], []),
        (["B-a-b", "I-a-b"], [("a-b", 0, 2)]),
        ([], []),
    ],
)
def test_where_stretches_begin_and_end(labels: list[str], expected: list[tuple[str, int, int]]) -> None:
    assert stretches(labels) == expected


def f1(y: list[str | None], y_hat: list[str], sequence: list[str]) -> float | None:
    labels = sorted({label for label in [*y, *y_hat] if label})
    return score_labels(y, y_hat, sequence=sequence, labels=labels, bio=True).metrics["span-F1"].value


def test_kind_and_both_ends_must_be_right() -> None:
    said = ["B-PER", "I-PER", "O", "B-PER", "B-LOC", "O"]
    assert f1(TRUE, said, ["s"] * 6) == pytest.approx(100 * 2 * 1 / (3 + 3))
    assert f1(TRUE, TRUE, ["s"] * 6) == pytest.approx(100)


def test_no_stretch_crosses_from_one_sequence_into_the_next() -> None:
    labels = ["B-PER", "I-PER"]
    assert f1(labels, ["B-PER", "B-PER"], ["s", "t"]) == pytest.approx(100)


def test_steps_without_a_known_label_are_outside() -> None:
    assert f1(["B-PER", None], ["B-PER", "I-PER"], ["s", "s"]) == pytest.approx(100)


def test_it_is_measured_only_where_it_is_asked_for() -> None:
    found = score_labels(TRUE, TRUE, sequence=["s"] * 6, labels=sorted(set(TRUE)))
    assert set(found.metrics) == {"accuracy", "macro-F1"}
