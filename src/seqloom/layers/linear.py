"""`Linear`: torch's own, for batches of which each has another number of rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seqloom.casting import casts_to_bfloat16

ROWS = 256  # sizes are multiples of it; below it, powers of two


class Linear(nn.Linear):
    """`torch.nn.Linear`, quick on sizes that were never seen before.

    Products of bfloat16 on a CPU are oneDNN's, which compiles machine code for every new shape. That takes longer than
    the product itself, and there are hardly two batches of sequences with as many steps. So within automatic casting
    to bfloat16 zeros fill up the rows, to one of few numbers, and are cut off again.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        if not casts_to_bfloat16():
            return super().forward(input)
        rows = input.flatten(0, -2)
        filled = super().forward(_FilledUp.apply(rows))  # type: ignore[no-untyped-call]
        output: Tensor = _CutOff.apply(filled, len(rows))  # type: ignore[no-untyped-call]
        return output.reshape(*input.shape[:-1], self.out_features)


def filled_up(rows: int) -> int:
    """The next number of rows that comes again and again."""
    return -(-rows // ROWS) * ROWS if rows > ROWS else 1 << max(rows - 1, 0).bit_length()


def _with_zeros(rows: Tensor, size: int) -> Tensor:
    """(size, F) in bfloat16: the rows, then zeros."""
    filled = rows.new_empty(size, rows.shape[1], dtype=torch.bfloat16)
    filled[: len(rows)] = rows
    filled[len(rows) :] = 0
    return filled


class _FilledUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.rows, ctx.dtype = len(rows), rows.dtype
        return _with_zeros(rows, filled_up(len(rows)))

    @staticmethod
    def backward(ctx: Any, d_filled: Tensor) -> Tensor:
        return d_filled[: ctx.rows].to(ctx.dtype)


class _CutOff(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, filled: Tensor, rows: int) -> Tensor:
        ctx.size = len(filled)
        return filled[:rows]

    @staticmethod
    def backward(ctx: Any, d_rows: Tensor) -> tuple[Tensor, None]:
        return _with_zeros(d_rows, ctx.size), None
