"""Rows cut into pieces that know nothing of each other, and put together again."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from seqloom.errors import UsageError
from seqloom.sequences import Sequences


class Cuts(NamedTuple):
    """B rows as P pieces, which are rows of their own and so run side by side, whatever runs them.

    Attributes:
        pieces: P rows, in order: those of row 0, then those of row 1. An empty row is one empty piece.
        row: (P,) int64, the row it comes from.
        first, last: (B,) int64, by row.
        enters: (P,) bool, the piece goes on from the state that the row was given.
        enters_backward: (P,) bool, the same when rows are read from their end.
        lengths: (B,) int64, of the rows.
        piece, step: (B, T) int64, where each step of the rows is.
    """

    pieces: Sequences
    row: Tensor
    first: Tensor
    last: Tensor
    enters: Tensor
    enters_backward: Tensor
    lengths: Tensor
    piece: Tensor
    step: Tensor

    def join(self, pieces: Sequences) -> Sequences:
        """Values of the pieces (P, S, F) as rows again, (B, T, F)."""
        if 0 in pieces.values.shape[:2]:
            return Sequences(pieces.values.new_zeros(*self.piece.shape, pieces.values.shape[2]), self.lengths)
        return Sequences(pieces.values[self.piece, self.step], self.lengths).zero_padding()


def cut_at(input: Sequences, reset: Tensor) -> Cuts:
    """Pieces that begin at the start of each row and at each valid step where `reset` (B, T) is True.

    A row that is reset at its very first step does not go on from the state it was given.

    Raises:
        UsageError: `reset` is no boolean (B, T).
    """
    B, T = input.values.shape[:2]
    if reset.dtype != torch.bool or reset.shape != (B, T):
        raise UsageError(
            f"reset is {reset.dtype} of shape {tuple(reset.shape)}; expected torch.bool of shape {(B, T)}: True where "
            "a row's state goes back to the initial one before that step"
        )
    device = input.values.device
    valid = input.valid
    reset = reset.to(device) & valid
    steps = torch.arange(T, device=device).expand(B, T)
    begins = reset | (steps == 0)
    count = begins.sum(dim=1).clamp(min=1)
    last = count.cumsum(0) - 1
    first = last - count + 1
    piece = first.unsqueeze(1) + begins.cumsum(dim=1) - 1
    step = steps - torch.where(begins, steps, 0).cummax(dim=1).values if T else steps
    row = torch.repeat_interleave(torch.arange(B, device=device), count)
    sizes = torch.zeros_like(row).index_add(0, piece[valid], torch.ones_like(piece[valid]))
    longest = int(sizes.max()) if len(sizes) else 0
    values = input.values.new_zeros(len(row), longest, *input.values.shape[2:])
    values = values.index_put((piece[valid], step[valid]), input.values[valid])
    numbers = torch.arange(len(row), device=device)
    fresh = reset[:, 0] if T else reset.new_zeros(B)
    return Cuts(
        pieces=Sequences(values, sizes.to(input.lengths.device)),
        row=row,
        first=first,
        last=last,
        enters=(numbers == first[row]) & ~fresh[row],
        enters_backward=numbers == last[row],
        lengths=input.lengths,
        piece=piece,
        step=torch.where(valid, step, 0),
    )
