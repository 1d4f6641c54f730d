"""`Wrapper`: a cell that passes everything on to another one; each wrapper changes one thing."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from seqloom.cells.cell import Cell


class Wrapper(Cell):
    """A cell around a cell.

    Args:
        cell: the one inside.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell.input_size, cell.hidden_size)
        self.cell = cell

    @property
    def bare(self) -> Cell:
        """The cell inside all wrappers."""
        return self.cell.bare

    @property
    def output_size(self) -> int:
        """Of the cell inside."""
        return self.cell.output_size

    def project(self, input: Tensor) -> Tensor:
        """Of the cell inside."""
        return self.cell.project(input)

    def initial_state(self, batch_size: int) -> Any:
        """Of the cell inside."""
        return self.cell.initial_state(batch_size)

    def step(self, projected: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Of the cell inside."""
        return self.cell.step(projected, state)

    def bare_state(self, state: Any) -> Any:
        """Of the cell inside."""
        return self.cell.bare_state(state)

    def blend(self, old: Any, new: Any, share: Any) -> Any:
        """Of the cell inside."""
        return self.cell.blend(old, new, share)

    def symbols(self) -> dict[str, Tensor]:
        """Of the cell inside."""
        return self.cell.symbols()
