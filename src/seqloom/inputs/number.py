"""One number for the whole sequence: an age, a capacity."""

from __future__ import annotations

import torch
from torch import Tensor

from seqloom.data.segments import Column
from seqloom.inputs.input import InputSettings, Role, StandardisedInput, with_flags
from seqloom.scaling import Scale
from seqloom.standardise import as_matrix


class Number(StandardisedInput):
    """A number, standardised on the training part, and whether it was observed."""

    Settings = InputSettings

    @property
    def role(self) -> Role:
        """Static."""
        return Role.STATIC

    def build(self) -> None:
        """No weights: a value and a flag for each column."""
        self.features = 2 * len(self.standard.mean)

    def encode(self, values: Column) -> Tensor:
        """(S, F) float64, standardised, NaN where missing."""
        return torch.from_numpy(self.standard.apply(as_matrix(values)))

    def forward(self, encoded: Tensor, scale: Scale | None) -> Tensor:
        """(B, F) to (B, 2F)."""
        return with_flags(encoded)
