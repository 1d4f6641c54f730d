"""Exact match and F1, on the cases that the definition is about."""

from __future__ import annotations

import pytest

from seqloom.errors import DataError
from seqloom.metrics.span import normalised, score_spans, word_f1


def test_case_articles_punctuation_and_space_do_not_count() -> None:
    assert normalised("The  U.S.-led, a  Band; an END") == "usled band end"
    assert normalised("Anthem of theatre") == "anthem of theatre", "articles are whole words"


@pytest.mark.parametrize(
    ("truth", "answer", "f1"),
    [
        ("the red house", "red house", 1.0),
        ("red house", "house", 2 * 1 / (2 + 1)),
        ("to be or not to be", "to to to", 2 * 2 / (6 + 3)),
        ("red", "blue", 0.0),
        ("", "", 1.0),
        ("the", "", 1.0),
        ("red", "", 0.0),
        ("", "red", 0.0),
    ],
)
def test_f1_of_words(truth: str, answer: str, f1: float) -> None:
    assert word_f1(truth, answer) == pytest.approx(f1)


def test_the_best_of_several_right_answers_counts() -> None:
    found = score_spans([["in 1990", "1990"], ["red"], []], ["1990", "a blue one", "anything"])
    assert found.windows == 2, "what nobody answered is not scored"
    assert found.metrics["EM"].value == pytest.approx(50)
    assert found.metrics["F1"].value == pytest.approx(50)


def test_having_no_answer_can_be_right() -> None:
    found = score_spans([[], [], ["red"]], [None, "red", None], no_answer=True)
    assert found.windows == 3
    assert found.metrics["EM"].value == pytest.approx(100 / 3)


def test_nothing_to_score() -> None:
    with pytest.raises(DataError, match="0 of 1 questions have an answer; expected at least 1"):
        score_spans([[]], ["red"])
