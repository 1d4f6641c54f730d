"""`Vocabulary`: texts to codes. Code 0 is whatever was missing, or never seen in the training part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt


class Vocabulary:
    """The distinct texts of a column, most frequent first, ties in alphabetical order.

    Args:
        words: texts with codes 1, 2, ... in this order.
    """

    unknown = 0

    def __init__(self, words: Iterable[str]) -> None:
        self.words = list(words)
        self._codes = {word: code for code, word in enumerate(self.words, start=1)}

    @classmethod
    def fit(cls, values: Iterable[str | None]) -> Vocabulary:
        """The vocabulary of the values that are present."""
        counts = Counter(value for value in values if value is not None)
        return cls(sorted(counts, key=lambda word: (-counts[word], word)))

    def __len__(self) -> int:
        """Codes in use, the unknown included."""
        return len(self.words) + 1

    def encode(self, values: Iterable[str | None]) -> npt.NDArray[np.int64]:
        """(N,) codes."""
        return np.fromiter((self._codes.get(value, 0) if value is not None else 0 for value in values), np.int64)
