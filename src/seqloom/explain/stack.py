"""The layers of a stack of cells as stages: their shapes, their weights and the kernels that run them."""

from __future__ import annotations

from typing import Any

import torch

from seqloom.cells.cell import Cell
from seqloom.explain.stage import Stage, count
from seqloom.kernels import choose
from seqloom.layers.recurrent import Recurrent
from seqloom.sequences import Sequences
from seqloom.state import size


def stack_stages(stack: Recurrent, read: Sequences, *, name: str, after: str) -> tuple[list[Stage], Sequences]:
    """Each layer, and what the last one returns; a backward cell reads reversed steps, which changes no shape.

    Args:
        stack: the cells.
        read: (B, T, F) what the first layer reads.
        name: of the stack.
        after: what becomes of the last layer's sequence.
    """
    input, stages = read, []
    cells, state = stack.cells(), stack.initial_state(len(read.lengths))
    made = read
    for depth, (layer, layer_state) in enumerate(zip(cells, state, strict=True)):
        lowered = [lower(cell, part) for cell, part in zip(layer, layer_state, strict=True)]
        choice = choose(lowered[0][0], input, stack.backend)
        runs = [choice.kernel.run(cell, input, part)[0].values for cell, part in lowered]
        made = input.with_values(torch.cat(runs, dim=-1))
        last = depth + 1 == len(cells)
        note = "returns sequences: yes, " + (after if last else "the next layer reads every step")
        kept = sum(_kept_by(cell, input, part) for cell, part in zip(layer, layer_state, strict=True))
        title = f"{name} layer {depth + 1}: {layer[0].title}" + (" in both directions" if layer[1:] else "")
        stages.append(Stage(title, tuple(made.values.shape), sum(map(count, layer)), note, kept, choice))
        input = stack.above(made, input)
    return stages, made


def lower(cell: Cell, state: Any) -> tuple[Cell, Any]:
    """What kernels run while training, where it is more than in evaluation."""
    lowered = cell.train().lower(state)
    cell.eval()
    return lowered


def _kept_by(cell: Cell, input: Sequences, state: Any) -> int:
    """Gates and states of every step."""
    gates = cell.project(input.values[:, :1]).numel()
    return input.values.shape[1] * (gates + size(state))
