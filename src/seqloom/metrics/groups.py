"""`Groups`: which group each scored row belongs to, and sums over the groups."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Groups:
    """A division of N rows into G groups.

    Attributes:
        index: (N,) int64, the group of each row, 0 ≤ index < G.
        names: the G names, in the order of their first row.
    """

    index: Indices
    names: tuple[Hashable, ...]

    @classmethod
    def by(cls, keys: Sequence[Hashable]) -> Groups:
        """Rows with equal keys share a group."""
        order: dict[Hashable, int] = {}
        index = np.fromiter((order.setdefault(key, len(order)) for key in keys), np.int64, len(keys))
        return cls(index, tuple(order))

    @classmethod
    def whole(cls, rows: int) -> Groups:
        """All rows in one group."""
        return cls(np.zeros(rows, np.int64), ("all",))

    @classmethod
    def single(cls, rows: int) -> Groups:
        """Every row is a group of its own."""
        return cls(np.arange(rows), tuple(range(rows)))

    def __len__(self) -> int:
        return len(self.names)

    def sums(self, *columns: npt.NDArray[np.generic]) -> Floats:
        """Sum of each column (N,) over each group, (G, number of columns)."""
        added = [np.bincount(self.index, column.astype(np.float64), len(self)) for column in columns]
        return np.stack(added, axis=1)

    def counts(self, classes: Indices, size: int, rows: npt.NDArray[np.bool_] | None = None) -> Floats:
        """How often each class 0 ≤ c < size occurs in each group, (G, size); only where `rows` is True."""
        cells = self.index * size + classes
        chosen = cells if rows is None else cells[rows]
        return np.bincount(chosen, minlength=len(self) * size).reshape(len(self), size).astype(np.float64)
