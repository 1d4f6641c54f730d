"""The plain scan: one step after another, for any cell on any device. All other kernels must match it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqloom.cells.cell import Cell
from seqloom.kernels.backwards import backwards
from seqloom.sequences import Sequences
from seqloom.state import where


def why_not(cell: Cell, input: Sequences) -> str | None:
    """None: it always runs."""
    return None


def run(cell: Cell, input: Sequences, state: Any, *, reverse: bool = False) -> tuple[Sequences, Any]:
    """Outputs (B, T, H), zero on padding, and each row's state after its last valid step."""
    if reverse:
        return backwards(run, cell, input, state)
    B, T = input.values.shape[:2]
    projected = cell.project(input.zero_padding().values)
    valid = input.valid
    full = input.is_full
    outputs: list[Tensor] = []
    for t in range(T):
        output, new = cell.step(projected[:, t], state)
        if full:
            state = new
        else:
            output = torch.where(valid[:, t].unsqueeze(1), output, output.new_zeros(()))
            state = where(valid[:, t], new, state)
        outputs.append(output)
    if not outputs:
        return input.with_values(projected.new_zeros(B, 0, cell.output_size)), state
    return input.with_values(torch.stack(outputs, dim=1)), state
