"""Single steps by the cell's own `step`: for any cell, at the price of torch's dispatcher. The others must match it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqloom.cells.cell import Cell
from seqloom.state import map_state

Array = npt.NDArray[Any]


def why_not(cell: Cell) -> str | None:
    """None: it always runs."""
    return None


def make(cell: Cell) -> Callable[[Array, Sequence[Array]], Array]:
    """The step function."""
    layout = cell.initial_state(1)

    @torch.no_grad()
    def step(x: Array, state: Sequence[Array]) -> Array:
        given = iter(state)
        # Copies: the new state may hold parts of the old one, whose arrays are overwritten below.
        before = map_state(lambda _: torch.tensor(next(given)), layout)
        output, after = cell.step(cell.project(torch.tensor(x).unsqueeze(1)).squeeze(1), before)
        targets = iter(state)

        def write(leaf: Tensor) -> Tensor:
            np.copyto(next(targets), leaf.numpy())
            return leaf

        map_state(write, after)
        made: Array = output.numpy()
        return made

    return step
