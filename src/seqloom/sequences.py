"""`Sequences`: values with their lengths. The only file that knows about padding.

Padding always follows the valid steps. What it holds never matters: everything here reads valid steps only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sequences:
    """A batch of sequences of unequal length.

    Attributes:
        values: (B, T, ...), row b is valid on its first `lengths[b]` steps.
        lengths: (B,) int64, each in 0..T.
    """

    values: Tensor
    lengths: Tensor

    def __post_init__(self) -> None:
        if self.lengths.dtype != torch.int64:
            raise TypeError(f"lengths are {self.lengths.dtype}; expected absolute step counts as torch.int64")
        B, T = self.values.shape[:2]
        if self.lengths.shape != (B,):
            raise ValueError(f"lengths have shape {tuple(self.lengths.shape)}; expected ({B},), one per row")
        if B and not (int(self.lengths.min()) >= 0 and int(self.lengths.max()) <= T):
            raise ValueError(f"lengths {self.lengths.tolist()} leave 0..{T}, the steps that values hold")

    @classmethod
    def full(cls, values: Tensor) -> Sequences:
        """Sequences without padding: every row is valid on all its steps."""
        B, T = values.shape[:2]
        return cls(values, torch.full((B,), T, dtype=torch.int64, device=values.device))

    @classmethod
    def pad(cls, rows: Sequence[Tensor]) -> Sequences:
        """Rows of (T_b, ...) side by side, zeros after each row's end."""
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
        return cls(torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True), lengths)

    @property
    def valid(self) -> Tensor:
        """(B, T) bool, True on valid steps."""
        steps = torch.arange(self.values.shape[1], device=self.values.device)
        return steps < self.lengths.to(self.values.device).unsqueeze(1)

    @property
    def padding_mask(self) -> Tensor:
        """(B, T) bool, True on padding."""
        return ~self.valid

    @property
    def is_full(self) -> bool:
        """Whether there is no padding at all."""
        return bool((self.lengths == self.values.shape[1]).all())

    def with_values(self, values: Tensor) -> Sequences:
        """Other values, same lengths."""
        return Sequences(values, self.lengths)

    def zero_padding(self) -> Sequences:
        """Zeros in place of padding; NaN there is gone, and no gradient flows to it."""
        if self.is_full:
            return self
        valid = self.valid.reshape(*self.valid.shape, *[1] * (self.values.dim() - 2))
        return self.with_values(torch.where(valid, self.values, self.values.new_zeros(())))

    def reverse(self) -> Sequences:
        """Each row backwards from its true end; padding stays behind."""
        B, T = self.values.shape[:2]
        steps = torch.arange(T, device=self.values.device).expand(B, T)
        index = torch.where(self.valid, self.lengths.to(steps.device).unsqueeze(1) - 1 - steps, steps)
        rows = torch.arange(B, device=self.values.device).unsqueeze(1)
        return self.with_values(self.values[rows, index])

    def last(self) -> Tensor:
        """(B, ...) the value at each row's last valid step; zeros for empty rows."""
        if self.values.shape[1] == 0:
            return self.values.new_zeros(self.values.shape[0], *self.values.shape[2:])
        rows = torch.arange(len(self.lengths), device=self.values.device)
        found = self.values[rows, (self.lengths.to(rows.device) - 1).clamp(min=0)]
        empty = (self.lengths == 0).to(rows.device).reshape(-1, *[1] * (found.dim() - 1))
        return torch.where(empty, found.new_zeros(()), found)

    def select(self, rows: Tensor) -> Sequences:
        """The rows named by an index tensor (B',), in that order."""
        return Sequences(self.values[rows], self.lengths[rows])

    def split(self, sizes: Sequence[int]) -> list[Sequences]:
        """Consecutive chunks of so many steps; a row that ended earlier has length 0 in later chunks."""
        chunks, start = [], 0
        for size in sizes:
            lengths = (self.lengths - start).clamp(0, size)
            chunks.append(Sequences(self.values[:, start : start + size], lengths))
            start += size
        return chunks

    def unpad(self) -> list[Tensor]:
        """The rows without padding, each (T_b, ...)."""
        return [row[:length] for row, length in zip(self.values, self.lengths.tolist(), strict=True)]


@dataclass(frozen=True)
class Ragged:
    """Many sequences of unequal length laid end to end, without padding.

    Attributes:
        offsets: (S + 1,) int64; sequence s owns the steps `offsets[s]:offsets[s + 1]`.
        values: (N, ...) the steps.
    """

    offsets: Tensor
    values: Tensor

    @property
    def lengths(self) -> Tensor:
        """(S,) int64, steps of each sequence."""
        return self.offsets.diff()

    def rows(self, index: Tensor, filler: float = 0.0) -> Sequences:
        """The sequences named by `index` (B,) side by side, `filler` after each one's end."""
        first, lengths = self.offsets[index].unsqueeze(1), self.lengths[index]
        steps = torch.arange(int(lengths.max()) if len(lengths) else 0)
        place = torch.where(steps < lengths.unsqueeze(1), first + steps, len(self.values))
        filled = torch.cat([self.values, self.values.new_full((1, *self.values.shape[1:]), filler)])
        return Sequences(filled[place], lengths)
