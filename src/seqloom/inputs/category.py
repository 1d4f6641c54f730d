"""One of a set of texts: a kind of day, a region, the name of the series itself."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from seqloom.data.segments import Column
from seqloom.inputs.input import Input, InputSettings, Role
from seqloom.scaling import Scale
from seqloom.vocabulary import Vocabulary


class CategorySettings(InputSettings):
    """What a recipe may say of a category."""

    role: Role = Field(Role.STATIC, description="past or known along time, or static")
    size: int | None = Field(None, ge=1, description="features of the embedding; omitted: grows with the vocabulary")
    unknown_rate: float = Field(
        0.02,
        ge=0,
        lt=1,
        description="share of values shown as unknown in training, so that unseen ones are handled",
    )


class Category(Input):
    """A learned embedding of each text in the training part; missing and unseen ones share code 0."""

    Settings = CategorySettings
    reads_text = True
    missing = float(Vocabulary.unknown)

    def __init__(self, name: str, settings: CategorySettings) -> None:
        super().__init__(name, settings)
        self._role = settings.role
        self.size = settings.size
        self.unknown_rate = settings.unknown_rate
        self.vocabulary: Vocabulary

    @property
    def role(self) -> Role:
        """As declared."""
        return self._role

    def fit(self, values: Column) -> None:
        """The vocabulary of the training part."""
        self.vocabulary = Vocabulary.fit(values.tolist())

    def fitted(self) -> dict[str, Any]:
        """The words, in the order of their codes."""
        return {"words": self.vocabulary.words}

    def restore(self, fitted: dict[str, Any]) -> None:
        """The words."""
        self.vocabulary = Vocabulary(fitted["words"])

    def build(self) -> None:
        """The embedding."""
        self.features = self.size or min(32, 1 + round(len(self.vocabulary) ** 0.5 * 1.5))
        self.embedding = nn.Embedding(len(self.vocabulary), self.features)

    def encode(self, values: Column) -> Tensor:
        """(N, 1) int64 codes."""
        return torch.from_numpy(self.vocabulary.encode(values.tolist())).unsqueeze(1)

    def word(self, code: int) -> str:
        """The text; a question mark for what training never showed."""
        return self.vocabulary.words[code - 1] if code else "?"

    def forward(self, encoded: Tensor, scale: Scale | None) -> Tensor:
        """(..., 1) codes to (..., features)."""
        codes = encoded.squeeze(-1)
        if self.training and self.unknown_rate:
            hidden = torch.rand(codes.shape, device=codes.device) < self.unknown_rate
            codes = torch.where(hidden, torch.zeros_like(codes), codes)
        embedded: Tensor = self.embedding(codes)
        return embedded
