"""Kneser-Ney: an n-gram over the last items, smoothed by shorter ones; of order 2 it is a first-order Markov chain.

Source: Chen and Goodman, An Empirical Study of Smoothing Techniques (1999), section 2.7, interpolated form:

    p(w | u) = max(c(u w) - D, 0) / c(u) + D * types(u) / c(u) * p(w | u without its first item)

where c counts occurrences for the longest contexts and, for shorter ones, how many different items stand before;
types(u) is how many different items follow u; D = n1 / (n1 + 2 * n2) of the counts once and twice seen, for each
length. The shortest distribution is mixed with the uniform one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqloom.rivals.rival import Codes, Floats


class _Level(NamedTuple):
    """What follows the contexts of one length, each an id from 0.

    Attributes:
        keys: (C,) sorted, the id of the context less its first item, and that item, as one number.
        start: (C + 1,) first entry of each context.
        item: items that follow, by context.
        share: their discounted shares.
        rest: (C,) share of each context that goes to shorter ones.
    """

    keys: Codes
    start: Codes
    item: Codes
    share: Floats
    rest: Floats


class KneserNey:
    """Interpolated Kneser-Ney n-gram over V items.

    Codes are 0..V-1 for items, V for the place before a sequence begins, below 0 for items that are not known.

    Args:
        history: (N, order - 1) codes of what stands before each item that is learned from, the nearest last.
        following: (N,) codes of those items, all known.
        count: V.
    """

    def __init__(self, history: Codes, following: Codes, count: int) -> None:
        self.order = history.shape[1] + 1
        self.count = count
        ids, keys = np.zeros(len(following), np.int64), [np.zeros(1, np.int64)]
        for older in history.T[::-1]:
            found, ids = np.unique(self._key(ids, older), return_inverse=True)
            keys.append(found)
        self._levels = self._learn(keys, ids, following)

    def scores(self, history: Codes) -> Tensor:
        """(n, V) ln p after each history (n, order - 1)."""
        ids = self._find(history)
        left = np.ones(len(history))
        rows, items, shares = [], [], []
        for level, context in zip(self._levels[:0:-1], ids[:0:-1], strict=True):
            known = np.flatnonzero(context >= 0)
            row, entry = _entries(level.start, known, context[known])
            rows.append(row)
            items.append(level.item[entry])
            shares.append(level.share[entry] * left[row])
            left[known] *= level.rest[context[known]]
        p = torch.from_numpy(np.outer(left, self._shortest()).astype(np.float32))
        place = tuple(torch.from_numpy(np.concatenate(part)) for part in (rows, items))
        p.index_put_(place, torch.from_numpy(np.concatenate(shares).astype(np.float32)), accumulate=True)
        return p.log_()

    def _key(self, ids: Codes, older: Codes) -> Codes:
        return ids * (self.count + 2) + older + 1

    def _learn(self, keys: list[Codes], ids: Codes, following: Codes) -> list[_Level]:
        """From the longest contexts, whose occurrences count, to the shortest, where different extensions do."""
        levels = []
        for known in reversed(keys):
            pairs, times = np.unique(ids * self.count + following, return_counts=True)
            context, following = pairs // self.count, pairs % self.count
            levels.append(_level(known, context, following, times))
            ids = known[context] // (self.count + 2)
        return levels[::-1]

    def _find(self, history: Codes) -> list[Codes]:
        """(n,) id of the context of each length, -1 where training does not hold it."""
        found = [np.zeros(len(history), np.int64)]
        for level, older in zip(self._levels[1:], history.T[::-1], strict=True):
            key = self._key(found[-1], older)
            place = np.minimum(np.searchsorted(level.keys, key), len(level.keys) - 1)
            known = (found[-1] >= 0) & (older >= 0) & (level.keys[place] == key)
            found.append(np.where(known, place, -1))
        return found

    def _shortest(self) -> Floats:
        """(V,) the distribution without any context."""
        level = self._levels[0]
        p = np.full(self.count, level.rest[0] / self.count)
        p[level.item] += level.share
        return p


def _level(keys: Codes, context: Codes, item: Codes, times: Codes) -> _Level:
    """The discounted shares of sorted pairs of context and item, each with its count."""
    once, twice = np.sum(times == 1), np.sum(times == 2)
    discount = once / (once + 2 * twice) if once else 0.5
    total = np.bincount(context, times, len(keys))
    types = np.bincount(context, minlength=len(keys))
    start = np.concatenate([[0], np.cumsum(types)])
    return _Level(keys, start, item, (times - discount) / total[context], discount * types / total)


def _entries(start: Codes, rows: Codes, contexts: Codes) -> tuple[Codes, Codes]:
    """The row and the place of every entry of some contexts."""
    sizes = start[contexts + 1] - start[contexts]
    before = np.cumsum(sizes) - sizes
    return np.repeat(rows, sizes), np.arange(sizes.sum()) + np.repeat(start[contexts] - before, sizes)
