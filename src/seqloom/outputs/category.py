"""One class for the whole sequence."""

from __future__ import annotations

import polars as pl
import torch
from pydantic import Field
from torch import Tensor, nn

from seqloom.data.segments import Column, Segments
from seqloom.layers.pooling import Name, pooling
from seqloom.metrics.category import score_category
from seqloom.metrics.result import Result
from seqloom.outputs.output import (
    Array,
    ClassOutput,
    OutputSettings,
    Places,
    PooledOutput,
    RivalAnswers,
    Steps,
    Texts,
    masked_cross_entropy,
)
from seqloom.rivals.majority import Majority
from seqloom.rivals.tf_idf import TfIdf
from seqloom.scaling import Scale


class CategorySettings(OutputSettings):
    """What a recipe may say of a class to be answered."""

    pooling: list[Name] = Field(["last"], min_length=1, description="how the steps become one vector: last, mean, max")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the pooled features dropped")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of each target spread over all classes")


class Category(PooledOutput, ClassOutput):
    """Probabilities of the classes seen in the training part; the loss is the cross-entropy."""

    Settings = CategorySettings

    def __init__(self, name: str, settings: CategorySettings) -> None:
        super().__init__(name, settings)
        self.settings = settings

    def build(self, features: int, joined: int, bidirectional: bool) -> None:
        """Pooling and a linear map."""
        self.pool = pooling(self.settings.pooling, bidirectional)
        classes = len(self.vocabulary.words)
        self.decoder = nn.Sequential(
            nn.Dropout(self.settings.dropout), nn.Linear(features * len(self.settings.pooling), classes)
        )

    def encode(self, values: Column) -> Tensor:
        """(S,) class numbers from 0, -1 where the label is missing or was never seen in training."""
        return torch.from_numpy(self.vocabulary.encode(values.tolist()) - 1)

    def loss(self, raw: Tensor, target: Tensor, scale: Scale | None) -> Tensor:
        """Cross-entropy over the rows with a known label."""
        return masked_cross_entropy(raw, target, self.settings.label_smoothing)

    def frame(self, answers: Array, segments: Segments, places: Places) -> pl.DataFrame:
        """One row for each sequence: id, y, y_hat and the probability p-<class> of each class."""
        truth = self.read(segments)[places.segment]
        ids = [segments.ids[k] for k in places.segment]
        return pl.DataFrame({"id": ids, **self.classes(answers, truth.tolist())})

    def score(self, frame: pl.DataFrame, segments: Segments, ends: Steps) -> Result:
        """Accuracy, macro F1, log-loss, calibration error and the confusion matrix."""
        words = self.vocabulary.words
        probabilities = frame.select(f"p-{word}" for word in words).to_numpy()
        return score_category(frame["y"].to_list(), frame["y_hat"].to_list(), labels=words, probabilities=probabilities)

    def rivals(self, segments: Segments, places: Places, training: Column) -> list[RivalAnswers]:
        """The most frequent class of the training part."""
        words = self.vocabulary.words
        shares = Majority().probabilities(training.tolist(), labels=words, count=len(places.segment))
        return [RivalAnswers("majority", self.frame(shares, segments, places), ())]

    def text_rivals(self, segments: Segments, places: Places, training: Column, texts: Texts) -> list[RivalAnswers]:
        """A linear model of which words a text has."""
        rival, labels = TfIdf(), training.tolist()
        reason = rival.why_not(texts.training, labels)
        if reason is not None:
            return [RivalAnswers("TF-IDF", None, (reason,))]
        shares = rival.probabilities(texts.training, labels, texts.asked, labels=self.vocabulary.words)
        return [RivalAnswers("TF-IDF", self.frame(shares, segments, places), (rival.note,))]
