"""One class for each step: a tag, a phase, an event."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from pydantic import Field
from torch import Tensor, nn

from seqloom.data.segments import Column, Segments
from seqloom.metrics.labels import score_labels
from seqloom.metrics.result import Result
from seqloom.outputs.output import (
    Array,
    ClassOutput,
    OutputSettings,
    Places,
    Reading,
    RivalAnswers,
    Shape,
    Steps,
    masked_cross_entropy,
)
from seqloom.rivals.majority import Majority
from seqloom.scaling import Scale


class LabelsSettings(OutputSettings):
    """What a recipe may say of labels to be answered."""

    dropout: float = Field(0.0, ge=0, lt=1, description="share of each step's features dropped")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of each target spread over all classes")
    hold: bool = Field(
        False, description="where core.front makes several steps one, let one answer stand for all of them"
    )
    bio: bool = Field(
        False, description="labels are B-kind and I-kind on the steps of a stretch, else O: score whole stretches too"
    )


class Labels(ClassOutput):
    """Probabilities of the classes at every step; the loss is the cross-entropy."""

    Settings = LabelsSettings
    shape = Shape.STEPS
    missing = -1.0

    def __init__(self, name: str, settings: LabelsSettings) -> None:
        super().__init__(name, settings)
        self.settings = settings

    def build(self, features: int, joined: int, bidirectional: bool) -> None:
        """A linear map of each step."""
        classes = len(self.vocabulary.words)
        self.decoder = nn.Sequential(nn.Dropout(self.settings.dropout), nn.Linear(features, classes))

    def encode(self, values: Column) -> Tensor:
        """(N, 1) class numbers from 0, -1 where the label is missing or was never seen in training."""
        return torch.from_numpy(self.vocabulary.encode(values.tolist()) - 1).unsqueeze(1)

    def forward(self, reading: Reading) -> Tensor:
        """(B, T, K) logits."""
        raw: Tensor = self.decoder(reading.each_step())
        return raw

    def loss(self, raw: Tensor, target: Tensor, scale: Scale | None) -> Tensor:
        """Cross-entropy over the steps with a known label; padding has none."""
        return masked_cross_entropy(raw, target.squeeze(-1), self.settings.label_smoothing)

    def frame(self, answers: Array, segments: Segments, places: Places) -> pl.DataFrame:
        """One row for each step: id, step, y, y_hat and p-<class>."""
        lengths = places.origin - places.start
        owner = np.repeat(np.arange(len(lengths)), lengths)
        step = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        place = places.start[owner] + step
        truth = self.read(segments)[segments.offsets[places.segment[owner]] + place]
        ids = [segments.ids[k] for k in places.segment[owner]]
        return pl.DataFrame(
            {"id": ids, "step": place + 1, **self.classes(answers[owner, step], truth.tolist())},
            schema_overrides={"id": pl.String},
        )

    def score(self, frame: pl.DataFrame, segments: Segments, ends: Steps) -> Result:
        """Per-step accuracy, macro F1, log-loss and calibration, and with `bio` the F1 of whole stretches."""
        words = self.vocabulary.words
        return score_labels(
            frame["y"].to_list(),
            frame["y_hat"].to_list(),
            sequence=frame["id"].to_list(),
            labels=words,
            bio=self.settings.bio,
            probabilities=frame.select(f"p-{word}" for word in words).to_numpy(),
        )

    def rivals(self, segments: Segments, places: Places, training: Column) -> list[RivalAnswers]:
        """The most frequent label of the training part, at every step."""
        words = self.vocabulary.words
        lengths = places.origin - places.start
        shares = Majority().probabilities(training.tolist(), labels=words, count=int(lengths.max(initial=0)))
        every = np.broadcast_to(shares, (len(lengths), *shares.shape))
        return [RivalAnswers("majority", self.frame(every, segments, places), ())]
