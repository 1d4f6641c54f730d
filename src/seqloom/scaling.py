"""`Scale`: where a sequence lies and how far it spreads, so that series of any size look alike to a model."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Scale(NamedTuple):
    """loc and spread, each (B, F) float64, spread above zero."""

    loc: Tensor
    spread: Tensor

    def apply(self, values: Tensor) -> Tensor:
        """(B, T, F) in natural units to scaled units."""
        return (values - self.loc.unsqueeze(1)) / self.spread.unsqueeze(1)

    def invert(self, values: Tensor) -> Tensor:
        """(B, T, F) in scaled units to natural units, float64."""
        return values.double() * self.spread.unsqueeze(1) + self.loc.unsqueeze(1)

    def take(self, rows: Tensor) -> Scale:
        """The scales of some rows."""
        return Scale(self.loc[rows], self.spread[rows])


def scale_of(past: Tensor, default: Scale) -> Scale:
    """Mean and standard deviation of the observed steps of each row.

    Args:
        past: (B, T, F) float64, NaN where nothing was observed.
        default: (1, F) scale for rows without any observation.

    A constant row has no spread of its own; it gets a tenth of its level, or 1 at level zero.
    """
    observed = ~past.isnan()
    count = observed.sum(dim=1)
    filled = torch.where(observed, past, past.new_zeros(()))
    loc = filled.sum(dim=1) / count.clamp(min=1)
    squares = torch.where(observed, (past - loc.unsqueeze(1)) ** 2, past.new_zeros(()))
    spread = (squares.sum(dim=1) / count.clamp(min=1)).sqrt()
    level = loc.abs()
    constant = spread <= 1e-9 * level.clamp(min=1e-30)
    spread = torch.where(constant, torch.where(level > 0, 0.1 * level, torch.ones_like(level)), spread)
    empty = count == 0
    return Scale(
        torch.where(empty, default.loc.expand_as(loc), loc),
        torch.where(empty, default.spread.expand_as(spread), spread),
    )
