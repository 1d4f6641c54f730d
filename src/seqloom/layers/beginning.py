"""How a cell begins: weights that other papers than the cell's own proposed, for any cell whose equations have room."""

from __future__ import annotations

import torch
from torch import nn

from seqloom.cells.cell import Cell
from seqloom.gates import keeper, recurrent_weights


def why_no_memory(cell: type[Cell]) -> str | None:
    """Why `set_memory` does not apply to a cell, or None."""
    if keeper(cell) is None:
        return f"{cell.__name__} has no gate with a bias that keeps its state; expected a cell such as lstm or gru"
    return None


def why_not_orthogonal(cell: type[Cell]) -> str | None:
    """Why `make_orthogonal` does not apply to a cell, or None."""
    names = recurrent_weights(cell)
    if not names or not all(_is_square(cell, name) for name in names):
        return f"{cell.__name__} has no square matrix for each gate of its state; expected a cell such as lstm or rnn"
    return None


@torch.no_grad()
def set_memory(cell: Cell, steps: int) -> None:
    """Spread the memories of a cell's units from 1 to so many steps (at least 2).

    A gate f keeps a value for about 1 / (1 - f) steps. Biases of the keeping gate are log(u), u uniform in
    1..steps-1; those of an input gate of its own are the opposite, so that what is added up keeps its size. This
    is the chrono initialisation of Tallec & Ollivier, Can recurrent neural networks warp time?, ICLR 2018.
    """
    found = keeper(type(cell))
    assert found is not None, why_no_memory(type(cell))
    weights = cell.symbols()
    bias = torch.empty_like(weights[found.biases[0]]).uniform_(1, max(steps - 1, 1)).log()
    for names, value in ((found.biases, found.sign * bias), (found.input_biases, -bias)):
        for place, name in enumerate(names):
            weights[name].copy_(value if place == 0 else torch.zeros_like(value))


@torch.no_grad()
def make_orthogonal(cell: Cell) -> None:
    """Make each gate's recurrent matrix orthogonal: what it multiplies keeps its length.

    Saxe, McClelland & Ganguli, Exact solutions to the nonlinear dynamics of learning in deep linear neural
    networks, ICLR 2014.
    """
    weights = cell.symbols()
    for name in recurrent_weights(type(cell)):
        nn.init.orthogonal_(weights[name])


def _is_square(cell: type[Cell], name: str) -> bool:
    shape = cell(2, 3).symbols()[name].shape
    return len(shape) == 2 and shape[0] == shape[1]
