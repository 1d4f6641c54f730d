"""One of a set of texts: a kind of day, a region, the name of the series itself."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from seqloom.inputs.input import EmbeddedInput, InputSettings, Role


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


class Category(EmbeddedInput):
    """A learned embedding of each text in the training part."""

    Settings = CategorySettings

    def __init__(self, name: str, settings: CategorySettings) -> None:
        super().__init__(name, settings, settings.unknown_rate)
        self._role = settings.role
        self.size = settings.size

    @property
    def role(self) -> Role:
        """As declared."""
        return self._role

    def build(self) -> None:
        """The embedding."""
        self.features = self.size or min(32, 1 + round(len(self.vocabulary) ** 0.5 * 1.5))
        self.embedding = nn.Embedding(len(self.vocabulary), self.features)
