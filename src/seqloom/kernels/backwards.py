"""Rows read from their true ends, for kernels that go forwards alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from seqloom.cells.cell import Cell
from seqloom.sequences import Sequences

Run = Callable[[Cell, Sequences, Any], tuple[Sequences, Any]]


def backwards(run: Run, cell: Cell, input: Sequences, state: Any) -> tuple[Sequences, Any]:
    """What `run` gives of the rows turned round: outputs (B, T, H) at their own steps, and the state at step 0."""
    output, final = run(cell, _turned(cell, input), state)
    return output.reverse(), final


def _turned(cell: Cell, input: Sequences) -> Sequences:
    """Each row from its end; what passes before a step is then what passed after it."""
    back = input.reverse()
    if not cell.reads_elapsed or not back.values.shape[1]:
        return back
    elapsed = back.values[:, :-1, :1]
    shifted = torch.cat([torch.zeros_like(back.values[:, :1, :1]), elapsed], dim=1)
    return back.with_values(torch.cat([shifted, back.values[..., 1:]], dim=-1))
