"""All steps of a linear recurrence together, for cells that are linear in their state, on any device.

Steps are cut into blocks. Within them runs a short loop, all blocks at once, each as if nothing came before; the
blocks' ends are a sequence again, scanned in the same way; then what came in is added everywhere. That takes
`32 log(T) / log(32)` operations in a row instead of T, and keeps T numbers for the backward pass, which is itself
such a scan from the end.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from seqloom.cells.cell import Cell, LinearCell
from seqloom.kernels.backwards import backwards
from seqloom.sequences import Sequences

_BLOCK = 32


def why_not(cell: Cell, input: Sequences) -> str | None:
    """The reason why this cell and batch cannot be scanned, or None."""
    if not isinstance(cell, LinearCell):
        return f"{cell.title} is not linear in its state, so its steps depend on each other"
    if 0 in input.values.shape[:2]:
        return f"a scan needs at least one row and one step, got shape {tuple(input.values.shape)}"
    return None


def run(cell: Cell, input: Sequences, state: Any, *, reverse: bool = False) -> tuple[Sequences, Any]:
    """Outputs (B, T, H), zero on padding, and each row's state after its last valid step."""
    if reverse:
        return backwards(run, cell, input, state)
    assert isinstance(cell, LinearCell)
    projected = cell.project(input.zero_padding().values)
    a, b = cell.coefficients(projected)
    if not input.is_full:
        # On padding the memory stays as it is, exactly: m' = 1 m + 0.
        valid = input.valid.unsqueeze(2)
        a, b = torch.where(valid, a, a.new_ones(())), torch.where(valid, b, b.new_zeros(()))
    memory = linear_scan(a, b, state[0])
    output = input.with_values(cell.readout(projected, memory)).zero_padding()
    return output, type(state)(memory[:, -1])


def linear_scan(a: Tensor, b: Tensor, initial: Tensor) -> Tensor:
    """`m[t] = a[t] * m[t-1] + b[t]` with `m[-1] = initial`.

    Args:
        a, b: (B, T, H), T at least 1.
        initial: (B, H).

    Returns:
        m, (B, T, H), in the widest precision of the three.
    """
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), initial.dtype)
    scanned: Tensor = _Scan.apply(a.to(dtype), b.to(dtype), initial.to(dtype))  # type: ignore[no-untyped-call]
    return scanned


class _Scan(torch.autograd.Function):
    """The scan with its gradient, which can be differentiated in turn."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, initial: Tensor) -> Tensor:
        memory = _blocks(a, _plus_first(b, a[:, 0] * initial))
        ctx.save_for_backward(a, initial, memory)
        return memory

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`g[t] = grad[t] + a[t+1] * g[t+1]`; then db = g, da = g * m[t-1], d initial = a[0] * g[0]."""
        a, initial, memory = ctx.saved_tensors
        later = torch.cat([a[:, 1:], torch.ones_like(a[:, :1])], dim=1)  # what the last step multiplies is 0
        g = linear_scan(later.flip(1), grad.flip(1), torch.zeros_like(initial)).flip(1)
        before = torch.cat([initial.unsqueeze(1), memory[:, :-1]], dim=1)
        return g * before, g, a[:, 0] * g[:, 0]


def _plus_first(b: Tensor, first: Tensor) -> Tensor:
    """b with something added at step 0."""
    return torch.cat([b[:, :1] + first.unsqueeze(1), b[:, 1:]], dim=1)


def _blocks(a: Tensor, b: Tensor) -> Tensor:
    """The scan from zero, (B, T, H)."""
    B, T, H = b.shape
    if T <= _BLOCK:
        return _loop(a.unsqueeze(1), b.unsqueeze(1), products=False)[1].squeeze(1)
    count = -(-T // _BLOCK)
    filler = (0, 0, 0, count * _BLOCK - T)
    blocks = [pad(part, filler).view(B, count, _BLOCK, H) for part in (a, b)]
    products, sums = _loop(*blocks, products=True)
    ends = _blocks(products[:, :, -1], sums[:, :, -1])
    sums[:, 1:].addcmul_(products[:, 1:], ends[:, :-1].unsqueeze(2))
    return sums.view(B, count * _BLOCK, H)[:, :T]


def _loop(a: Tensor, b: Tensor, *, products: bool) -> tuple[Tensor, Tensor]:
    """Step by step through dimension 2 of all blocks (B, N, K, H): products of a where asked for, and the scan."""
    factors = a.clone() if products else a
    sums = b.clone()
    for k in range(1, b.shape[2]):
        sums[:, :, k].addcmul_(a[:, :, k], sums[:, :, k - 1])
        if products:
            factors[:, :, k].mul_(factors[:, :, k - 1])
    return factors, sums
