"""`Settings`: the base of every part of a recipe. Unknown keys are errors and nothing can be changed."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A checked, immutable part of a recipe, kept beside the thing it configures."""

    model_config = ConfigDict(extra="forbid", frozen=True)
