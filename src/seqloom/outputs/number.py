"""One number for the whole sequence."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from pydantic import Field
from torch import Tensor, nn

from seqloom.data.segments import Column, Segments
from seqloom.layers.pooling import Name, pooling
from seqloom.metrics.number import score_number
from seqloom.metrics.result import Result
from seqloom.outputs.output import Array, OutputSettings, Places, PooledOutput, RivalAnswers, Steps
from seqloom.rivals.constant import CONSTANTS
from seqloom.scaling import Scale
from seqloom.standardise import Standardised, as_matrix


class NumberSettings(OutputSettings):
    """What a recipe may say of a number to be answered."""

    pooling: list[Name] = Field(["last"], min_length=1, description="how the steps become one vector: last, mean, max")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the pooled features dropped")


class Number(Standardised, PooledOutput):
    """A number, standardised on the training part; its loss is the absolute error: a median."""

    Settings = NumberSettings

    def __init__(self, name: str, settings: NumberSettings) -> None:
        super().__init__(name, settings)
        self.settings = settings

    def build(self, features: int, joined: int, bidirectional: bool) -> None:
        """Pooling and a linear map."""
        self.pool = pooling(self.settings.pooling, bidirectional)
        self.decoder = nn.Sequential(
            nn.Dropout(self.settings.dropout), nn.Linear(features * len(self.settings.pooling), 1)
        )

    def encode(self, values: Column) -> Tensor:
        """(S, 1) standardised, NaN where unknown."""
        return torch.from_numpy(self.standard.apply(as_matrix(values)))

    def loss(self, raw: Tensor, target: Tensor, scale: Scale | None) -> Tensor:
        """Mean absolute error in standardised units."""
        known = ~target.isnan()
        error = (raw - torch.where(known, target, target.new_zeros(())).to(raw.dtype)).abs()
        return torch.where(known, error, error.new_zeros(())).sum() / known.sum().clamp(min=1)

    def answers(self, raw: Tensor, scale: Scale | None) -> Array:
        """(B, 1) in natural units."""
        return raw.double().numpy() * self.standard.deviation + self.standard.mean

    def monitor(self, answers: Array, target: Array) -> tuple[str, float]:
        """MAE."""
        return "MAE", float(np.nanmean(np.abs(answers - (target * self.standard.deviation + self.standard.mean))))

    def frame(self, answers: Array, segments: Segments, places: Places) -> pl.DataFrame:
        """One row for each sequence: id, y, y_hat."""
        ids = [segments.ids[k] for k in places.segment]
        truth = as_matrix(self.read(segments))[places.segment, 0]
        return pl.DataFrame({"id": ids, "y": truth, "y_hat": answers[:, 0]}).with_columns(pl.col("y").fill_nan(None))

    def score(self, frame: pl.DataFrame, segments: Segments, ends: Steps) -> Result:
        """MAE, RMSE and R²."""
        return score_number(frame["y"].fill_null(float("nan")).to_numpy(), frame["y_hat"].to_numpy())

    def rivals(self, segments: Segments, places: Places, training: Column) -> list[RivalAnswers]:
        """The training part's mean and median."""
        known, count = as_matrix(training)[:, 0], len(places.segment)
        return [
            RivalAnswers(rival.name, self.frame(rival.predict(known, count=count)[:, None], segments, places), ())
            for rival in CONSTANTS
        ]
