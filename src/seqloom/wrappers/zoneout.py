"""A cell whose units now and then keep what they had."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqloom.cells.cell import Cell
from seqloom.errors import UsageError
from seqloom.state import map_state
from seqloom.wrappers.wrapper import Wrapper


class Zoneout(Wrapper):
    """Any cell, each unit of whose state keeps its value over a step with some probability, while training.

    Krueger et al., Zoneout: Regularizing RNNs by randomly preserving hidden activations, ICLR 2017. Each field of
    the state draws for itself, new at every step. In evaluation the state is the expectation, `rate * old + (1 -
    rate) * new`. Where a cell's output is a field of its state, such as h, it is the one that was kept.

    Args:
        cell: the one inside.
        rate: probability of keeping, 0 <= rate < 1.

    Raises:
        UsageError: the rate is out of range.
    """

    def __init__(self, cell: Cell, rate: float) -> None:
        super().__init__(cell)
        if not 0 <= rate < 1:
            raise UsageError(f"zoneout has the rate {rate}; expected 0 <= rate < 1")
        self.rate = rate

    @property
    def title(self) -> str:
        """The cell's, and what was done to it."""
        return f"{self.cell.title} with zoneout"

    def step(self, projected: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step of the cell inside, and what is kept of the state before."""
        output, new = self.cell.step(projected, state)
        mixed = self.cell.blend(state, new, map_state(self._share, new))
        name = self.bare.output.removesuffix("_next")
        is_field = self.bare.output.endswith("_next")
        return (getattr(self.bare_state(mixed), name, output) if is_field else output), mixed

    def _share(self, leaf: Tensor) -> Tensor:
        """How much of the old value stays, for each unit."""
        share = torch.full_like(leaf, self.rate, dtype=torch.promote_types(leaf.dtype, torch.get_default_dtype()))
        return torch.bernoulli(share) if self.training else share
