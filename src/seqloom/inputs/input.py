"""`Input`: what every modality provides. A new modality is a new file in this folder."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from seqloom.data.ledger import Ledger
from seqloom.data.segments import Column, Segments
from seqloom.scaling import Scale
from seqloom.sequences import Ragged
from seqloom.settings import Settings
from seqloom.standardise import Standardised
from seqloom.vocabulary import Vocabulary


class Role(StrEnum):
    """When a model may read an input."""

    PAST = "past"  # a value for each step, seen up to the origin
    KNOWN = "known"  # a value for each step, known ahead of time
    STATIC = "static"  # one value for the whole sequence


class InputSettings(Settings):
    """What every input may say."""

    kind: str = Field(description="name of a file in seqloom/inputs, or an import path package.module:Class")
    columns: list[str] = Field([], description="columns it reads; omitted: the column named like the input")


class Input(nn.Module, ABC):
    """One declared input: columns of a table to features of a step, or of the whole sequence.

    Life: `fit` on the training part and `read_file` for each of its `files` (or `restore` what was fitted), `build` the
    weights, then `encode` whole columns once and call the module on batches that were cut from them.

    Attributes:
        Settings: what a recipe may say of it.
        reads_text: whether its columns hold text; otherwise numbers.
        own_axis: whether each of its cells is a sequence with a time axis of its own, see `OwnAxis`.
        missing: the encoded value of a step that may not be seen or was not observed.
        lags: steps ago at which its values are shown once more; of such an input `cut` gives, side by side,
            (B, T, F * (1 + lags)).
        features: size of the last dimension that `forward` gives, known after `build`.
    """

    Settings: ClassVar[type[InputSettings]]
    reads_text: ClassVar[bool] = False
    own_axis: ClassVar[bool] = False
    missing: ClassVar[float] = float("nan")
    lags: Sequence[int] = ()
    features: int

    def __init__(self, name: str, settings: InputSettings) -> None:
        super().__init__()
        self.name = name
        self.columns = settings.columns or [name]

    @property
    @abstractmethod
    def role(self) -> Role:
        """When it may be read."""

    @property
    def per_row(self) -> bool:
        """Whether the table holds one cell for each sequence, not one for each step."""
        return self.own_axis or self.role is Role.STATIC

    def read(self, segments: Segments) -> Column:
        """Its columns: (S, F) or (S,) where the table has one cell for each sequence, else (N, F) or (N,)."""
        table = segments.static if self.per_row else segments.steps
        return side_by_side([table[column] for column in self.columns])

    @abstractmethod
    def fit(self, values: Column) -> None:
        """Learn vocabulary or scale from the training part."""

    @property
    def files(self) -> Mapping[str, str]:
        """The files that its settings name, by setting; a relative path begins at the folder of the data."""
        return MappingProxyType({})

    def read_file(self, setting: str, path: Path) -> None:
        """Take what its weights begin with from one of `files`.

        Raises:
            DataError: the file cannot be used.
        """

    @abstractmethod
    def fitted(self) -> dict[str, Any]:
        """What `fit` learned, as JSON."""

    @abstractmethod
    def restore(self, fitted: dict[str, Any]) -> None:
        """Take back what `fitted` gave."""

    @abstractmethod
    def build(self) -> None:
        """Make the weights; `features` is known from here on."""

    @abstractmethod
    def encode(self, values: Column) -> Tensor | Ragged:
        """(N, F) or (S, F), before any weights; `missing` where nothing was observed."""

    def report(self, values: Column, ledger: Ledger) -> None:
        """Enter what encoding the column leaves out; called once the input is fitted."""

    def word(self, code: int) -> str:
        """What a whole number in `encode` stands for, as people read it."""
        return str(code)

    def scale(self, past: Tensor) -> Scale | None:
        """The scale of each row's own past (B, T, F), for inputs that are scaled by it."""
        return None

    @abstractmethod
    def forward(self, encoded: Tensor, scale: Scale | None) -> Tensor:
        """(B, T, F) or (B, F) as cut from `encode` to (..., features)."""


class OwnAxis(Input):
    """An input whose cell is a whole sequence that only it can take apart: a text, a recording.

    Its column holds one cell for each row of the table, and `encode` gives the steps of all of them. The core
    then reads along this axis.
    """

    own_axis = True

    @property
    def role(self) -> Role:
        """Past: the whole sequence has been seen when the answer is due."""
        return Role.PAST

    @abstractmethod
    def encode(self, values: Column) -> Ragged:
        """(S,) cells to the steps of all of them, each (F,), before any weights."""

    @abstractmethod
    def sample(self, steps: int) -> object:
        """A cell of about so many steps that says nothing, for looking at shapes."""


class StandardisedInput(Standardised, Input):
    """An input of numbers that learns their mean and deviation from the training part."""


class EmbeddedInput(Input):
    """An input of texts or ids, each with a learned embedding; missing and unseen ones share code 0.

    Attributes:
        unknown_rate: share of values shown as unknown in training, so that unseen ones are handled.
        vocabulary: what the training part holds, known after `fit` or `restore`.
        embedding: (codes, features) weights, made by `build`.
    """

    reads_text = True
    missing = float(Vocabulary.unknown)
    vocabulary: Vocabulary
    embedding: nn.Embedding

    def __init__(self, name: str, settings: InputSettings, unknown_rate: float) -> None:
        super().__init__(name, settings)
        self.unknown_rate = unknown_rate

    def fit(self, values: Column) -> None:
        """The vocabulary of the training part."""
        self.vocabulary = Vocabulary.fit(values.tolist())

    def fitted(self) -> dict[str, Any]:
        """The words, in the order of their codes."""
        return {"words": self.vocabulary.words}

    def restore(self, fitted: dict[str, Any]) -> None:
        """The words."""
        self.vocabulary = Vocabulary(fitted["words"])

    def encode(self, values: Column) -> Tensor:
        """(N, 1) int64 codes."""
        return torch.from_numpy(self.vocabulary.encode(values.tolist())).unsqueeze(1)

    def word(self, code: int) -> str:
        """The text of a code; a question mark for what training never showed."""
        return self.vocabulary.words[code - 1] if code else "?"

    def forward(self, encoded: Tensor, scale: Scale | None) -> Tensor:
        """(..., 1) codes to (..., features)."""
        codes = encoded.squeeze(-1)
        if self.training and self.unknown_rate:
            hidden = torch.rand(codes.shape, device=codes.device) < self.unknown_rate
            codes = torch.where(hidden, torch.zeros_like(codes), codes)
        embedded: Tensor = self.embedding(codes)
        return embedded


def side_by_side(columns: list[Column]) -> Column:
    """One column as it is; several as (N, F)."""
    if len(columns) == 1:
        return columns[0]
    return np.concatenate([column.reshape(len(column), math.prod(column.shape[1:])) for column in columns], axis=1)


def with_flags(values: Tensor) -> Tensor:
    """(..., F) with NaN where missing to (..., 2F): zeros there, then a flag for each value that is present."""
    observed = ~values.isnan()
    filled = torch.where(observed, values, values.new_zeros(()))
    return torch.cat([filled, observed.to(values)], dim=-1).to(torch.get_default_dtype())
