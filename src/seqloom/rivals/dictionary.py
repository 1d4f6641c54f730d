"""Word for word by a dictionary that was learned from pairs of texts: IBM model 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ROUNDS = 5
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Dictionary:
    """For each word the one that it is most often translated by; words are what stands between spaces.

    The probabilities t(f | e) are those of model 1 of Brown et al. (Computational Linguistics 19(2), 1993), by five
    rounds of expectation and maximisation. Each text has one more word, which stands for nothing, so that words
    without a counterpart need not be explained by others.
    """

    words: Mapping[str, str]

    @classmethod
    def fit(cls, sources: Sequence[str], targets: Sequence[str]) -> Dictionary:
        """Learn from pairs of texts."""
        read, written = _Codes(), _Codes()
        nothing = read.code("")
        cells, groups, count = [], [], 0
        for source, target in zip(sources, targets, strict=True):
            e = np.array([nothing, *map(read.code, source.split())])
            f = np.array(list(map(written.code, target.split())), np.int64)
            cells.append(np.stack([np.repeat(e, len(f)), np.tile(f, len(e))]))
            groups.append(count + np.tile(np.arange(len(f)), len(e)))
            count += len(f)
        if not count:
            return cls({})
        e, f = np.concatenate(cells, axis=1)
        return cls(_best(e, f, np.concatenate(groups), read.words, written.words))

    def write(self, texts: Sequence[str]) -> list[str]:
        """Each word by its counterpart; words that were never seen stay as they are."""
        return [" ".join(self.words.get(word, word) for word in text.split()) for text in texts]


class _Codes:
    """Numbers for words, in the order in which they come."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def code(self, word: str) -> int:
        return self._codes.setdefault(word, len(self._codes))

    @property
    def words(self) -> list[str]:
        return list(self._codes)


def _best(e: Integers, f: Integers, group: Integers, read: list[str], written: list[str]) -> dict[str, str]:
    """The likeliest f of each e.

    Args:
        e: (N,) a source word for every pair of a source and a target word in one pair of texts.
        f: (N,) the target word.
        group: (N,) which target word, among all of all texts: its counterparts share one unit of probability.
        read: source words by code.
        written: target words by code.
    """
    pairs, pair = np.unique(e * len(written) + f, return_inverse=True)
    source = pairs // len(written)
    t = np.ones(len(pairs))
    for _ in range(ROUNDS):
        weight = t[pair]
        share = weight / np.bincount(group, weight)[group]
        expected = np.bincount(pair, share, len(pairs))
        t = expected / np.bincount(source, expected, len(read))[source]
    order = np.lexsort((pairs, -t))  # of equally likely ones the word that came first
    _, first = np.unique(source[order], return_index=True)
    chosen = pairs[order][first]
    return {read[k // len(written)]: written[k % len(written)] for k in chosen.tolist()}
