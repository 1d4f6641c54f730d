"""BLEU and chrF: the library's own values, by hand where that is easy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF

from seqloom.errors import DataError
from seqloom.metrics.text import bleu, score_texts

Y = ["the cat sat on the mat .", "a dog runs", "two men ride horses in the rain", ""]
Y_HAT = ["the cat is on the mat .", "a dog runs", "two men are on horses in rain", "what"]


def test_values_are_those_of_the_library() -> None:
    found = score_texts(Y, Y_HAT, tokens="none").metrics
    assert found["BLEU"].value == pytest.approx(BLEU(tokenize="none", force=True).corpus_score(Y_HAT, [Y]).score)
    assert found["chrF"].value == pytest.approx(CHRF().corpus_score(Y_HAT, [Y]).score)
    assert bleu(Y, Y_HAT, tokens="none") == pytest.approx(found["BLEU"].value)
    lo, value, hi = (getattr(found["BLEU"], end) for end in ("lo", "value", "hi"))
    assert lo < value < hi


def test_bleu_by_hand() -> None:
    """a b c d e against a b c d f: 4/5, 3/4, 2/3 and 1/2 of the runs of 1 to 4 tokens match, equally long."""
    assert bleu(["a b c d f"], ["a b c d e"]) == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    # One token less: the same runs up to the end, times exp(1 - 5 / 4).
    assert bleu(["a b c d f"], ["a b c d"]) == pytest.approx(100 * math.exp(-0.25))


def test_the_receipt_holds_the_signature_and_the_way_of_splitting() -> None:
    plain, split = (score_texts(Y, Y_HAT, tokens=tokens).metrics["BLEU"] for tokens in ("none", "13a"))
    assert "nrefs:1|case:mixed|eff:no|tok:none|smooth:exp|version:" in plain.receipt
    assert "tok:13a" in split.receipt
    assert "nc:6|nw:0|space:no" in score_texts(Y, Y_HAT).metrics["chrF"].receipt


def test_greedy_texts_have_their_own_names() -> None:
    found = score_texts(Y, Y, Y_HAT, tokens="none").metrics
    assert list(found) == ["BLEU", "chrF", "BLEU-greedy", "chrF-greedy"]
    assert found["BLEU"].value == pytest.approx(100)
    assert found["BLEU-greedy"].value == pytest.approx(bleu(Y, Y_HAT, tokens="none"))


def test_unknown_texts_are_left_out() -> None:
    found = score_texts([*Y, None], [*Y_HAT, "anything"], tokens="none")
    assert found.windows == 4
    assert found.metrics["BLEU"].value == pytest.approx(bleu(Y, Y_HAT, tokens="none"))


def test_one_text_has_no_interval() -> None:
    found = score_texts(Y[:1], Y_HAT[:1]).metrics["BLEU"]
    assert found.lo is None
    assert np.isfinite(found.value or 0)


def test_what_cannot_be_scored_is_named() -> None:
    with pytest.raises(DataError, match="got 1 texts for 4 right ones"):
        score_texts(Y, Y_HAT[:1])
    with pytest.raises(DataError, match="no right text is known"):
        score_texts([None], ["a"])
