"""Ids of things in the order of time: films watched, songs played, clicks, words, characters.

What comes with each of them, such as a rating or the time since the one before, is another input along time.
"""

from __future__ import annotations

from pydantic import Field
from torch import nn

from seqloom.inputs.input import EmbeddedInput, InputSettings, Role


class ItemsSettings(InputSettings):
    """What a recipe may say of items."""

    size: int = Field(64, ge=1, description="features of each item's embedding")
    unknown_rate: float = Field(
        0.02,
        ge=0,
        lt=1,
        description="share of items shown as unknown in training, so that unseen ones are handled",
    )


class Items(EmbeddedInput):
    """A learned embedding of each item in the training part; missing and unseen ones share code 0."""

    Settings = ItemsSettings

    def __init__(self, name: str, settings: ItemsSettings) -> None:
        super().__init__(name, settings, settings.unknown_rate)
        self.features = settings.size

    @property
    def role(self) -> Role:
        """Past: what comes next is what is asked for."""
        return Role.PAST

    def build(self) -> None:
        """The embedding; vectors of about unit length, so that products of two of them can serve as scores."""
        self.embedding = nn.Embedding(len(self.vocabulary), self.features)
        nn.init.normal_(self.embedding.weight, std=self.features**-0.5)
