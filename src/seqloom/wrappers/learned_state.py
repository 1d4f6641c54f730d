"""A cell whose initial state is learned."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from seqloom.cells.cell import Cell
from seqloom.wrappers.wrapper import Wrapper


class LearnedState(Wrapper):
    """Any cell, with its initial state as weights, the same for every row; they begin at the cell's own.

    Counts, scales and clocks of a state (the cell's
    `bookkeeping`) begin as the cell says. The steps are the cell's own, so every kernel that runs the cell runs this.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        state = cell.initial_state(1)
        named = zip(state._fields, state, strict=True)
        learned = {n: v[0].clone() for n, v in named if n not in cell.bookkeeping and v.is_floating_point()}
        self.initial = nn.ParameterDict({name: nn.Parameter(value) for name, value in learned.items()})

    @property
    def title(self) -> str:
        """The cell's, and what was done to it."""
        return f"{self.cell.title} with a learned initial state"

    @property
    def stepper(self) -> Cell:
        """The cell inside, whose steps and states these are."""
        return self.cell.stepper

    def lower(self, state: Any) -> tuple[Cell, Any]:
        """The cell inside, whose steps and states these are."""
        return self.cell.lower(state)

    def lift(self, state: Any, final: Any) -> Any:
        """Of the cell inside."""
        return self.cell.lift(state, final)

    def initial_state(self, batch_size: int) -> Any:
        """The learned state for each row."""
        learned = {n: cast(Tensor, v).expand(batch_size, *v.shape) for n, v in self.initial.items()}
        return self.cell.initial_state(batch_size)._replace(**learned)
