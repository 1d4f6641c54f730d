"""The time since the step before, for sequences at irregular times."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqloom.data.segments import Column
from seqloom.errors import DataError
from seqloom.inputs.input import Input, InputSettings, Role
from seqloom.scaling import Scale
from seqloom.standardise import as_matrix


class Elapsed(Input):
    """One number of any unit for each step, at least 0, known ahead: what passed since the step before.

    It is divided by its mean over the training part, so that one unit is a usual gap, and not centred: 0 stays 0. A
    gap that is missing counts as a usual one. A cell such as `decay_gru` reads it where `core.elapsed` names it;
    otherwise it is a feature like any other.
    """

    Settings = InputSettings
    mean: float

    @property
    def role(self) -> Role:
        """Known: the times of coming steps are what one asks for."""
        return Role.KNOWN

    def fit(self, values: Column) -> None:
        """The mean gap; 1 where no time ever passes."""
        gaps = self._checked(values)
        found = float(np.nanmean(gaps)) if bool((~np.isnan(gaps)).any()) else 0.0
        self.mean = found if found > 0 else 1.0

    def fitted(self) -> dict[str, Any]:
        """The mean gap."""
        return {"mean": self.mean}

    def restore(self, fitted: dict[str, Any]) -> None:
        """The mean gap."""
        self.mean = float(fitted["mean"])

    def build(self) -> None:
        """No weights."""
        self.features = 1

    def encode(self, values: Column) -> Tensor:
        """(N, 1) float64 in usual gaps, NaN where missing."""
        return torch.from_numpy(self._checked(values) / self.mean)

    def forward(self, encoded: Tensor, scale: Scale | None) -> Tensor:
        """(B, T, 1), one where missing."""
        usual = torch.where(encoded.isnan(), encoded.new_ones(()), encoded)
        return usual.to(torch.get_default_dtype())

    def _checked(self, values: Column) -> np.ndarray[Any, np.dtype[np.float64]]:
        """(N, 1).

        Raises:
            DataError: several columns, or time that runs backwards.
        """
        gaps = as_matrix(values)
        if gaps.shape[1] != 1:
            raise DataError(f"input {self.name!r} reads {gaps.shape[1]} numbers for a step; expected 1, the gap before")
        if bool((gaps < 0).any()):
            raise DataError(
                f"column {self.columns[0]!r} holds {float(np.nanmin(gaps)):g}; expected the time since the step "
                "before, at least 0: sort the steps by time"
            )
        return gaps
