"""Exact match and F1 of answers that are stretches of a text, as SQuAD defines them (Rajpurkar et al., 2016, 2018)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seqloom.errors import DataError
from seqloom.metrics.groups import Floats, Groups
from seqloom.metrics.receipt import Metric, percent
from seqloom.metrics.result import Result, overall

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class Answered:
    """N scored answers, each by the best of its true ones.

    Attributes:
        exact: (N,) 1 where the normalised texts are equal.
        f1: (N,) harmonic mean of precision and recall of the normalised words.
    """

    exact: Floats
    f1: Floats


def score_spans(truth: Sequence[Sequence[str]], answers: Sequence[str | None], *, no_answer: bool = False) -> Result:
    """Exact match and F1 with intervals over questions.

    Args:
        truth: for each question, the texts that are right.
        answers: the answer to each; None: there is none.
        no_answer: a question without a right text has no answer; otherwise it is left out.

    Raises:
        DataError: nothing can be scored.
    """
    pairs = [
        (list(right) or [""], answer or "") for right, answer in zip(truth, answers, strict=True) if right or no_answer
    ]
    if not pairs:
        raise DataError(f"nothing to score: 0 of {len(truth)} questions have an answer; expected at least 1.")
    exact = [max(float(normalised(text) == normalised(answer)) for text in right) for right, answer in pairs]
    f1 = [max(word_f1(text, answer) for text in right) for right, answer in pairs]
    return Result(overall(METRICS, Answered(np.array(exact), np.array(f1)), Groups.single(len(pairs))), len(pairs))


def normalised(text: str) -> str:
    """Small letters, without punctuation, articles and superfluous space."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def word_f1(truth: str, answer: str) -> float:
    """F1 of the words that both have, counted as often as they occur; where either has none, whether neither has."""
    right, said = normalised(truth).split(), normalised(answer).split()
    if not right or not said:
        return float(right == said)
    shared = sum((Counter(right) & Counter(said)).values())
    return 2 * shared / (len(right) + len(said))


def _exact(rows: Answered, groups: Groups) -> Floats:
    return groups.sums(rows.exact, np.ones_like(rows.exact))


def _f1(rows: Answered, groups: Groups) -> Floats:
    return groups.sums(rows.f1, np.ones_like(rows.f1))


_RULE = "the better of all right answers, texts in small letters without punctuation, a, an, the and superfluous space"
METRICS: list[Metric[Answered]] = [
    Metric("EM", "%", "higher", f"100 * mean [answer = truth], {_RULE}.", _exact, percent),
    Metric(
        "F1",
        "%",
        "higher",
        f"100 * mean of 2 * shared words / (words of the truth + words of the answer), {_RULE}; an empty text is "
        "right only where the other is empty.",
        _f1,
        percent,
    ),
]
