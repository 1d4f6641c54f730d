"""`Output`: what every kind of answer provides. A new kind is a new file in this folder."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from pydantic import Field
from torch import Tensor, nn

from seqloom.data.ledger import Ledger
from seqloom.data.segments import Column, Segments
from seqloom.errors import DataError, RecipeError
from seqloom.inputs.input import Input, side_by_side
from seqloom.layers.pooling import Pooling
from seqloom.layers.recurrent import Recurrent
from seqloom.metrics.result import Result
from seqloom.scaling import Scale
from seqloom.sequences import Ragged, Sequences
from seqloom.settings import Settings
from seqloom.vocabulary import Vocabulary

Array = npt.NDArray[np.float64]
Steps = npt.NDArray[np.int64]


class Shape(Enum):
    """What an output asks of the core; the topology follows from it."""

    VECTOR = "one answer for the whole sequence"
    STEPS = "one answer for each step"
    AHEAD = "an answer for each coming step"
    OWN = "a sequence of its own length"
    SPAN = "a stretch of the text that is read"


class Places(NamedTuple):
    """Where in a table the rows of a batch come from, each array (B,).

    A row reads the steps `start:origin` of its segment as past; `stop - origin` steps of future follow.
    """

    segment: Steps
    start: Steps
    origin: Steps
    stop: Steps

    def take(self, rows: Steps | slice) -> Places:
        """The places of some rows."""
        return Places(*(part[rows] for part in self))


class Reading(NamedTuple):
    """What an output may look at.

    Attributes:
        states: outputs of the core, (B, T, features).
        joined: what the core read at each step, (B, T, joined).
        lagged: by input and lag, the scaled values so long ago (B, T, C), NaN where missing.
        origins: (B,) past steps of each row.
        factor: steps of `joined` that one of `states` stands for.
        final: the state of the core after each row's last step, without what wrappers added to it.
        targets: the right answers by output, where they are known: for outputs that are told what they should have
            answered before, and for no other use.
        progress: share of the training that is done, for what changes with it.
    """

    states: Sequences
    joined: Sequences
    lagged: dict[str, dict[int, Tensor]]
    origins: Tensor
    factor: int = 1
    final: Any = None
    targets: Mapping[str, Tensor] = MappingProxyType({})
    progress: float = 1.0

    def each_step(self) -> Tensor:
        """(B, T, features): at each step of `joined`, the state that stands for it; zeros on padding."""
        if self.factor == 1:
            return self.states.values
        repeated = self.states.values.repeat_interleave(self.factor, dim=1)
        return self.joined.with_values(repeated[:, : self.joined.values.shape[1]]).zero_padding().values


class RivalAnswers(NamedTuple):
    """What a rival answered, or why it did not: `frame` is None then and `notes` say it."""

    name: str
    frame: pl.DataFrame | None
    notes: tuple[str, ...]


class Texts(NamedTuple):
    """What rivals read of texts, those of several columns joined by a line break.

    Attributes:
        training: of the rows of the training part.
        asked: of the places to be answered.
    """

    training: list[str]
    asked: list[str]


class OutputSettings(Settings):
    """What every output may say."""

    kind: str = Field(description="name of a file in seqloom/outputs, or an import path package.module:Class")
    columns: list[str] = Field([], description="columns it answers; omitted: the one named like it")
    weight: float = Field(1.0, gt=0, description="factor of its loss where there are several outputs")


class Output(nn.Module, ABC):
    """One declared answer.

    Life: `fit` on the training part (or `restore`), `build` the decoder, then `forward` the core's outputs
    to raw answers; `loss` compares those with targets, `answers` turns them into natural units.

    Attributes:
        Settings: what a recipe may say of it.
        shape: what it asks of the core.
        reads_text: whether its columns hold text; otherwise numbers.
        is_class: whether each of its texts is one of a set of classes.
        horizon: steps after the origin that it answers.
        block: how many of them it answers at once, and is trained on.
        source: name of the input whose scale its answers share, if any.
        next_asked: whether the answer of a step is its column's value at the step after it.
        numbers: static columns of numbers that it reads besides.
        whole_rows: whether what it answers at a step depends on the targets of the whole row.
    """

    Settings: ClassVar[type[OutputSettings]]
    shape: ClassVar[Shape]
    reads_text: ClassVar[bool] = False
    is_class: ClassVar[bool] = True
    next_asked: ClassVar[bool] = False
    missing: ClassVar[float] = float("nan")
    horizon: int = 0
    block: int = 0
    source: str | None = None
    numbers: Sequence[str] = ()
    whole_rows: bool = False

    def __init__(self, name: str, settings: OutputSettings) -> None:
        super().__init__()
        self.name = name
        self.columns = settings.columns or [name]
        self.weight = settings.weight

    def attach(self, source: Input) -> None:
        """Share the scale of the input that holds the past of its own columns."""
        self.source = source.name

    def tie(self, inputs: dict[str, Input]) -> None:
        """Share weights with an input, where that is declared; called before anything is fitted."""

    @property
    def per_row(self) -> bool:
        """Whether the table holds one target for each sequence, not one for each step."""
        return self.shape in (Shape.VECTOR, Shape.SPAN, Shape.OWN)

    @property
    def needed(self) -> list[str]:
        """Columns without which it has no targets at all; of others some may be missing where a table is answered."""
        return self.columns

    def made_up(self) -> Column:
        """Ten targets as `read` gives them, to look at shapes before any data were read."""
        words = np.array([f"word {k}" for k in range(10)], dtype=object)
        return words if self.reads_text else np.zeros((10, len(self.columns)))

    def connect(self, core: Recurrent) -> None:
        """Look at the core before `build`, for an output that runs on from its state."""

    def read(self, segments: Segments) -> Column:
        """Its target columns: (S, ...) for one target per sequence, else (N, ...); missing where there are none.

        A table that is only answered need not hold the truth.
        """
        once = self.per_row
        table, count = (segments.static, len(segments)) if once else (segments.steps, int(segments.offsets[-1]))
        unknown = np.full(count, None if self.reads_text else np.nan)
        return side_by_side([table.get(column, unknown) for column in self.columns])

    @abstractmethod
    def fit(self, values: Column) -> None:
        """Learn vocabulary or scale from the training part."""

    @abstractmethod
    def fitted(self) -> dict[str, Any]:
        """What `fit` and `calibrate` learned, as JSON."""

    @abstractmethod
    def restore(self, fitted: dict[str, Any]) -> None:
        """Take back what `fitted` gave."""

    @abstractmethod
    def build(self, features: int, joined: int, bidirectional: bool) -> None:
        """Make the decoder for a core that turns `joined` input features into so many `features`."""

    @abstractmethod
    def encode(self, values: Column) -> Tensor | Ragged:
        """Targets, (N, ...) or (S, ...), in the units of the loss or of the source input; `Ragged` of own lengths."""

    def report(self, values: Column, ledger: Ledger) -> None:
        """Enter what encoding the column leaves out; called once the output is fitted."""

    @abstractmethod
    def forward(self, reading: Reading) -> Tensor:
        """What the core made of a batch to raw answers (B, ...)."""

    @abstractmethod
    def loss(self, raw: Tensor, target: Tensor, scale: Scale | None) -> Tensor:
        """Mean loss over everything that has a target; zero with gradient where nothing has."""

    def known(self, target: Tensor) -> int:
        """How many targets are known: `loss` and `monitor` are means over so many.

        An answer for each step is read in chunks where sequences are long, and each chunk counts by this.
        """
        return int((~target.isnan() if math.isnan(self.missing) else target != self.missing).sum())

    @abstractmethod
    def answers(self, raw: Tensor, scale: Scale | None) -> Array:
        """Raw answers to natural units, (B, ...)."""

    def compared(self, raw: Tensor, scale: Scale | None, target: Tensor) -> Array:
        """Answers where the truth is at hand, for outputs whose whole answers are too large to be kept without it."""
        return self.answers(raw, scale)

    @abstractmethod
    def monitor(self, answers: Array, target: Array) -> tuple[str, float]:
        """A metric to watch while training: its name, and its value in natural units, a mean over known targets."""

    def watch(self, reading: Reading, raw: Tensor, target: Tensor, scale: Scale | None) -> tuple[str, float]:
        """`monitor` of a batch; an output that writes by itself watches what it writes."""
        return self.monitor(self.compared(raw, scale, target), target.numpy())

    def answer(self, reading: Reading, scale: Scale | None) -> Array:
        """Answers in natural units to what the core made of a batch."""
        raw, target = self(reading), reading.targets.get(self.name)
        return self.answers(raw, scale) if target is None else self.compared(raw, scale, target)

    def calibrate(self, answers: Array, truth: Array, scale: Scale | None) -> None:
        """Mend stated uncertainty on validation data."""

    @abstractmethod
    def frame(self, answers: Array, segments: Segments, places: Places) -> pl.DataFrame:
        """Answers as a table for people, with ids, dates and the truth `y` where it is known."""

    def ahead(self, answers: Array, segments: Segments, places: Places) -> pl.DataFrame:
        """The part of `frame` that answers new data: all of it, unless only what comes next is asked for.

        No two segments have the same id here, whatever the table calls them.
        """
        return self.frame(answers, segments, places)

    @abstractmethod
    def score(self, frame: pl.DataFrame, segments: Segments, ends: Steps) -> Result:
        """Metrics of a frame, with intervals and receipts; `ends` (S,): where each test part begins."""

    @abstractmethod
    def rivals(self, segments: Segments, places: Places, training: Column) -> list[RivalAnswers]:
        """The naive rivals at the same places; `training` holds the targets of the training part."""

    def text_rivals(self, segments: Segments, places: Places, training: Column, texts: Texts) -> list[RivalAnswers]:
        """Rivals that read the texts too, for models that do."""
        return []


class PooledOutput(Output):
    """An output that answers from one vector, made of the core's outputs step by step or all at once.

    Attributes:
        pool: from the steps to one vector.
        decoder: from that vector to raw answers.
    """

    shape = Shape.VECTOR
    pool: Pooling
    decoder: nn.Module

    def forward(self, reading: Reading) -> Tensor:
        """(B, ...) raw answers."""
        return self.conclude(self.pool(reading.states))

    def conclude(self, vector: Tensor) -> Tensor:
        """One vector for each row to raw answers (B, ...)."""
        raw: Tensor = self.decoder(vector)
        return raw


class ClassOutput(Output):
    """An output that answers with classes; it knows those of the training part."""

    reads_text = True

    def __init__(self, name: str, settings: OutputSettings) -> None:
        super().__init__(name, settings)
        self.vocabulary: Vocabulary

    def fit(self, values: Column) -> None:
        """The classes of the training part."""
        self.vocabulary = Vocabulary.fit(values.tolist())
        if not self.vocabulary.words:
            raise DataError(
                f"output {self.name!r}: the training part has no label at all; expected two classes or more"
            )

    def fitted(self) -> dict[str, Any]:
        """The classes, in the order of their codes."""
        return {"words": self.vocabulary.words}

    def restore(self, fitted: dict[str, Any]) -> None:
        """The classes."""
        self.vocabulary = Vocabulary(fitted["words"])

    def known(self, target: Tensor) -> int:
        """Classes that training has seen."""
        return int((target >= 0).sum())

    def answers(self, raw: Tensor, scale: Scale | None) -> Array:
        """(..., K) logits to probabilities."""
        probabilities: Array = torch.softmax(raw.double(), dim=-1).numpy()
        return probabilities

    def monitor(self, answers: Array, target: Array) -> tuple[str, float]:
        """Accuracy over known classes."""
        codes = target.reshape(answers.shape[:-1])
        known = codes >= 0
        return "accuracy", float((answers.argmax(axis=-1) == codes)[known].mean()) if known.any() else float("nan")

    def classes(self, probabilities: Array, truth: list[str | None]) -> dict[str, Any]:
        """Columns y, y_hat and p-<class> of N rows of probabilities (N, K)."""
        words = self.vocabulary.words
        columns: dict[str, Any] = {
            "y": pl.Series(truth, dtype=pl.String),
            "y_hat": [words[k] for k in probabilities.argmax(axis=1)],
        }
        return columns | {f"p-{word}": probabilities[:, k] for k, word in enumerate(words)}


def masked_cross_entropy(logits: Tensor, target: Tensor, label_smoothing: float) -> Tensor:
    """Mean over targets that are not -1; zero, with gradient, where all are."""
    flat, codes = logits.flatten(0, -2), target.flatten()
    total = nn.functional.cross_entropy(flat, codes, ignore_index=-1, label_smoothing=label_smoothing, reduction="sum")
    return total / (codes >= 0).sum().clamp(min=1)


NOTHING = -2  # code where nothing is asked for, or of a step that does not exist


class NextSettings(OutputSettings):
    """What an output of the next item may say."""

    asked_from: str | None = Field(
        None,
        description="column with the number of the first item of a sequence that is asked for; earlier ones are only "
        "read; omitted: 2, the first that has one before it",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="share of each step's features dropped")


class NextOutput(Output):
    """An output that says at each step something of the item after it; its one column has a value for every item.

    Attributes:
        holds: what those values are.
    """

    shape = Shape.STEPS
    next_asked = True
    missing = float(NOTHING)
    holds: ClassVar[str]

    def __init__(self, name: str, settings: NextSettings) -> None:
        super().__init__(name, settings)
        if len(self.columns) > 1:
            raise RecipeError(f"outputs.{name}.columns is {self.columns}; expected one column of {self.holds}")
        self.numbers = [settings.asked_from] if settings.asked_from else []
