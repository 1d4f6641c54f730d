"""Which examples each step reads: a function of the seed and the step alone, so that resuming needs no state."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]

SIMILAR = 0.8  # rows lie in one bucket that are at least so long, beside its longest


class Order(Protocol):
    """Which rows each batch reads.

    Attributes:
        per_epoch: batches in which every row is read once.
    """

    per_epoch: float

    def rows(self, number: int) -> Rows:
        """The rows of a batch."""

    def largest(self, steps: Rows) -> Rows:
        """Rows that need as much memory as any batch does, if row k has `steps[k]` steps."""


def rows_of_step(count: int, batch_size: int, seed: int, step: int) -> Rows:
    """The `batch_size` rows of step 0, 1, ..., out of `count`.

    Epochs are permutations laid end to end, and a batch may reach from one into the next: every row is read
    equally often, and no batch is smaller than the others.
    """
    places = step * batch_size + np.arange(batch_size, dtype=np.int64)
    epochs, within = places // count, places % count
    rows = np.empty(batch_size, np.int64)
    for epoch in np.unique(epochs).tolist():
        chosen = epochs == epoch
        rows[chosen] = permutation(count, seed, epoch)[within[chosen]]
    return rows


@lru_cache(maxsize=4)
def permutation(count: int, seed: int, epoch: int) -> Rows:
    """The order of an epoch: the numbers below `count`, shuffled."""
    return np.random.default_rng([seed, epoch]).permutation(count)


class Shuffled:
    """Batches of `rows` rows, drawn from all of them.

    Attributes:
        per_epoch: batches in which every row is read once.
    """

    def __init__(self, count: int, rows: int, seed: int) -> None:
        self.count, self.size, self.seed = count, min(rows, count), seed
        self.per_epoch = count / self.size

    def rows(self, number: int) -> Rows:
        """The rows of a batch."""
        return rows_of_step(self.count, self.size, self.seed, number)

    def largest(self, steps: Rows) -> Rows:
        """The longest rows side by side."""
        return np.argsort(-steps, kind="stable")[: self.size]


class Bucketed:
    """Batches of rows that are about equally long, with a bound on their steps, padding included.

    Rows lie in buckets of similar length. In every epoch each bucket is shuffled and dealt out in batches, and the
    batches of all buckets are shuffled. Buckets and sizes of batches do not depend on the epoch, so every epoch has
    as many batches, and what batch k reads is a function of the seed and k.

    Args:
        steps: (N,) steps of each row.
        most_rows: rows of a batch at most.
        most_steps: rows of a batch times its longest at most; a row that is longer is a batch of its own.
        seed: of the shuffling.
    """

    def __init__(self, steps: Rows, most_rows: int, most_steps: int, seed: int) -> None:
        self.buckets = list(_buckets(steps, most_rows, most_steps))
        self.seed = seed
        self.per_epoch = float(sum(count for _, count in self.buckets))
        self._dealt: tuple[int, list[Rows]] = (-1, [])  # the last epoch asked for, so that it is shuffled once

    def rows(self, number: int) -> Rows:
        """The rows of a batch."""
        epoch, place = divmod(number, int(self.per_epoch))
        return self._epoch(epoch)[place]

    def largest(self, steps: Rows) -> Rows:
        """The most steps that chance can deal out as one batch: the longest rows of a bucket side by side."""
        falling = ((rows[np.argsort(-steps[rows], kind="stable")], count) for rows, count in self.buckets)
        batches = (rows[: -(-len(rows) // count)] for rows, count in falling)
        return max(batches, key=lambda rows: len(rows) * int(steps[rows].max()))

    def _epoch(self, epoch: int) -> list[Rows]:
        if self._dealt[0] != epoch:
            random = np.random.default_rng([self.seed, epoch])
            batches = [part for rows, count in self.buckets for part in np.array_split(random.permutation(rows), count)]
            self._dealt = epoch, [batches[place] for place in random.permutation(len(batches))]
        return self._dealt[1]


def _buckets(steps: Rows, most_rows: int, most_steps: int) -> Iterator[tuple[Rows, int]]:
    """Rows of similar length, the longest first, and the number of batches that they fill."""
    order = np.argsort(-steps, kind="stable")
    ordered, start = steps[order], 0
    while start < len(order):
        longest = max(int(ordered[start]), 1)
        size = max(min(most_steps // longest, most_rows), 1)
        similar = int(np.searchsorted(-ordered, -SIMILAR * longest, side="right"))
        stop = min(max(similar, start + size), len(order))
        yield order[start:stop], -(-(stop - start) // size)
        start = stop
