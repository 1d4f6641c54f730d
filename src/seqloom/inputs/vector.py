"""A vector of fixed size for the whole sequence: an embedding, a profile."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from seqloom.data.segments import Column
from seqloom.errors import DataError
from seqloom.inputs.input import InputSettings, Role, StandardisedInput, with_flags
from seqloom.scaling import Scale
from seqloom.standardise import as_matrix


class VectorSettings(InputSettings):
    """What a recipe may say of a vector."""

    size: int = Field(16, ge=1, description="features that its learned projection gives")


class Vector(StandardisedInput):
    """F numbers, standardised on the training part, with flags for those observed, through a learned projection.

    Raises:
        DataError: a table holds vectors of another size than the training part did.
    """

    Settings = VectorSettings

    def __init__(self, name: str, settings: VectorSettings) -> None:
        super().__init__(name, settings)
        self.size = settings.size

    @property
    def role(self) -> Role:
        """Static."""
        return Role.STATIC

    def build(self) -> None:
        """A projection of values and flags."""
        self.projection = nn.Linear(2 * len(self.standard.mean), self.size)
        self.features = self.size

    def encode(self, values: Column) -> Tensor:
        """(S, F) float64, standardised, NaN where missing."""
        matrix = as_matrix(values)
        expected = len(self.standard.mean)
        if matrix.shape[1] != expected:
            raise DataError(
                f"input {self.name!r}: vectors have {matrix.shape[1]} numbers; expected {expected} as in training"
            )
        return torch.from_numpy(self.standard.apply(matrix))

    def forward(self, encoded: Tensor, scale: Scale | None) -> Tensor:
        """(B, F) to (B, size)."""
        projected: Tensor = self.projection(with_flags(encoded))
        return projected
