"""Numbers along time: sensor values, sales, riders."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from seqloom.data.segments import Column
from seqloom.inputs.input import InputSettings, Role, StandardisedInput, with_flags
from seqloom.scaling import Scale, scale_of
from seqloom.standardise import as_matrix


class SeriesSettings(InputSettings):
    """What a recipe may say of a series."""

    role: Role = Field(Role.PAST, description="past, or known ahead of time")
    scale: Literal["own", "training"] = Field(
        "training",
        description="own: by the past that is read; training: by the training part, all series together",
    )
    lags: list[Annotated[int, Field(ge=1)]] = Field(
        [], description="steps ago, such as one season, at which its values are shown once more"
    )

    @field_validator("role")
    @classmethod
    def _along_time(cls, role: Role) -> Role:
        if role is Role.STATIC:
            raise ValueError("a series has values along time; for one number per sequence use kind: number")
        return role
    noise: float = Field(0.0, ge=0, description="deviation of Gaussian noise added to scaled values in training")
    hidden_rate: float = Field(0.0, ge=0, lt=1, description="share of steps shown as unobserved in training")


class Series(StandardisedInput):
    """F numbers for each step; each gives two features: the scaled value (0 where missing) and a flag.

    With `lags`, the values so many steps ago give the same two features. A coming step, whose lagged value may
    lie in the future as well, takes the last visible value of the same phase: for a lag of one season
    that is the seasonal naive forecast.
    """

    Settings = SeriesSettings

    def __init__(self, name: str, settings: SeriesSettings) -> None:
        super().__init__(name, settings)
        self._role = settings.role
        self.lags = settings.lags
        self.noise = settings.noise
        self.hidden_rate = settings.hidden_rate
        self.scaled_by_own_past = settings.scale == "own"

    @property
    def role(self) -> Role:
        """Past, or known."""
        return self._role

    def build(self) -> None:
        """No weights: a value and a flag for each column and lag."""
        self.features = 2 * len(self.standard.mean) * (1 + len(self.lags))

    def encode(self, values: Column) -> Tensor:
        """(N, F) float64 in natural units: the scale is a matter of each window."""
        return torch.from_numpy(as_matrix(values))

    def training_scale(self) -> Scale:
        """(1, F) the scale of the training part."""
        mean, deviation = (torch.from_numpy(part).unsqueeze(0) for part in self.standard)
        return Scale(mean, deviation)

    def scale(self, past: Tensor) -> Scale:
        """Of each row's own past (B, T, F), or of the training part."""
        default = self.training_scale()
        if self.scaled_by_own_past:
            return scale_of(past, default)
        return Scale(*(part.expand(len(past), -1) for part in default))

    def forward(self, encoded: Tensor, scale: Scale | None) -> Tensor:
        """(B, T, F * (1 + lags)) to (B, T, features)."""
        scaled = self.scaled(encoded, scale)
        if self.training and self.noise:
            scaled = scaled + self.noise * torch.randn_like(scaled)
        if self.training and self.hidden_rate:
            hidden = torch.rand(scaled.shape[:2]) < self.hidden_rate
            scaled = torch.where(hidden.unsqueeze(-1), scaled.new_full((), self.missing), scaled)
        return with_flags(scaled)

    def scaled(self, encoded: Tensor, scale: Scale | None) -> Tensor:
        """(B, T, F * (1 + lags)) in scaled units, NaN where missing."""
        assert scale is not None
        return Scale(*(part.repeat(1, 1 + len(self.lags)) for part in scale)).apply(encoded)
