"""A cell that forgets to look at some of its own past, the same for a whole sequence."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from seqloom.cells.cell import Cell, LinearCell
from seqloom.errors import UsageError
from seqloom.wrappers.wrapper import Wrapper


class DroppedState(NamedTuple):
    """cell: state of the cell inside. mask: what its weights see of h, 0 or 1 / (1 - rate), (B, H)."""

    cell: Any
    mask: Tensor


class RecurrentDropout(Wrapper):
    """Any cell whose recurrent weights see `mask * h`, with one mask for each sequence, while training.

    Gal & Ghahramani, A theoretically grounded application of dropout in recurrent neural networks, NeurIPS 2016. The
    memory itself is not dropped: only what `Cell.recur` reads. A cell that has no such method, since it is known by
    its `step` alone, is thinned instead: dropped units stand still and give zero. The mask is drawn by
    `initial_state` and kept in the state, so that pieces of a sequence, streams and recomputed steps have the same.
    In evaluation nothing is dropped.

    Args:
        cell: the one inside.
        rate: share of units dropped, 0 <= rate < 1.

    Raises:
        UsageError: the rate is out of range, or the cell looks at no past.
    """

    def __init__(self, cell: Cell, rate: float) -> None:
        super().__init__(cell)
        if not 0 <= rate < 1:
            raise UsageError(f"recurrent dropout has the rate {rate}; expected 0 <= rate < 1")
        reason = why_no_recurrent_dropout(type(cell.bare))
        if reason is not None:
            raise UsageError(reason)
        self.rate = rate

    @property
    def title(self) -> str:
        """The cell's, and what was done to it."""
        return f"{self.cell.title} with recurrent dropout"

    def initial_state(self, batch_size: int) -> DroppedState:
        """The cell's own, and a mask for each row: ones in evaluation."""
        state = self.cell.initial_state(batch_size)
        mask = torch.ones_like(state.h if hasattr(self.bare, "recur") else state[0])
        if self.training:
            mask = torch.bernoulli(mask, 1 - self.rate) / (1 - self.rate)
        return DroppedState(state, mask)

    def step(self, projected: Tensor, state: DroppedState) -> tuple[Tensor, DroppedState]:
        """One step of the cell inside."""
        inner, mask = state
        if not self.training:
            output, new = self.cell.step(projected, inner)
        elif hasattr(self.bare, "recur"):
            # The cell's own step, with `recur` alone replaced.
            output, new = type(self.bare).step(cast(Cell, _Masked(self.bare, mask)), projected, inner)
        else:
            output, new = self._thinned(projected, inner, mask)
        return output, DroppedState(new, mask)

    def _thinned(self, projected: Tensor, state: Any, mask: Tensor) -> tuple[Tensor, Any]:
        output, new = self.cell.step(projected, state)
        parts = (_kept(mask, fresh, old) for fresh, old in zip(new, state, strict=True))
        return _kept(mask, output, torch.zeros_like(output)), type(new)(*parts)

    def lower(self, state: DroppedState) -> tuple[Cell, Any]:
        """In evaluation the cell inside, since nothing is dropped."""
        return (self, state) if self.training else self.cell.lower(state.cell)

    def lift(self, state: DroppedState, final: Any) -> Any:
        """With the mask again."""
        return final if self.training else DroppedState(self.cell.lift(state.cell, final), state.mask)

    def bare_state(self, state: DroppedState) -> Any:
        """Without the mask."""
        return self.cell.bare_state(state.cell)

    def blend(self, old: DroppedState, new: DroppedState, share: DroppedState) -> DroppedState:
        """Of the cell's own state; the mask stays."""
        return DroppedState(self.cell.blend(old.cell, new.cell, share.cell), new.mask)


class _Masked:
    """A cell as its own `step` sees it when what it looks back at is masked."""

    def __init__(self, cell: Cell, mask: Tensor) -> None:
        self._cell, self._mask = cell, mask

    def recur(self, h: Tensor) -> Tensor:
        """What the cell's weights make of `mask * h`."""
        made: Tensor = cast(Any, self._cell).recur(self._mask * h)
        return made

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cell, name)


def _kept(mask: Tensor, fresh: Tensor, old: Tensor) -> Tensor:
    """`fresh` where the mask is not zero; parts of another width have no such units and are fresh altogether."""
    return torch.where(mask > 0, fresh, old) if fresh.shape == mask.shape else fresh


def why_no_recurrent_dropout(cell: type[Cell]) -> str | None:
    """Why recurrent dropout has no effect on a cell, or None."""
    if issubclass(cell, LinearCell):
        return f"{cell.__name__} has no weights that look back, so there is nothing to drop; use dropout or zoneout"
    return None
