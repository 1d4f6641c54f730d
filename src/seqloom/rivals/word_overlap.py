"""Word overlap: the stretch of the text that says most of the words of the question.

Of every sentence, the words that it shares with the question are summed, each weighted by ln(n / texts that
have it) over the n training texts. The answer is the longest run without a shared word in the best sentence.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

WORD = re.compile(r"\w+")
SENTENCE = re.compile(r"[^.!?]+(?:[.!?]+|$)")
Bounds = tuple[int, int]


class WordOverlap:
    """Answers questions by the words they share with a sentence.

    Args:
        texts: of the training part; they say how common a word is.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        different = set(texts)
        self._texts = max(len(different), 1)
        self._counts = Counter(word for text in different for word in set(_words(text)))

    def answer(self, text: str, question: str) -> Bounds:
        """First character of the answer and the one after its last; (0, 0) in an empty text."""
        asked = set(_words(question))
        sentences = [match.span() for match in SENTENCE.finditer(text)]
        if not sentences:
            return 0, 0
        start, end = max(sentences, key=lambda bounds: self._shared(text[slice(*bounds)], asked))
        runs: list[Bounds] = []
        first: int | None = None
        last = start
        for match in WORD.finditer(text, start, end):
            if match.group().lower() in asked:
                runs.append((start if first is None else first, last))
                first = None
            else:
                first, last = (match.start() if first is None else first), match.end()
        runs.append((start if first is None else first, last))
        best = max(runs, key=lambda bounds: bounds[1] - bounds[0])
        return best if best[1] > best[0] else (start, end)

    def _shared(self, sentence: str, asked: set[str]) -> float:
        return sum(math.log(1 + self._texts / (1 + self._counts[word])) for word in set(_words(sentence)) & asked)


def first_sentence(text: str) -> Bounds:
    """The bounds of the first sentence; (0, 0) in an empty text."""
    match = SENTENCE.search(text)
    return match.span() if match else (0, 0)


def _words(text: str) -> list[str]:
    return [word.lower() for word in WORD.findall(text)]
