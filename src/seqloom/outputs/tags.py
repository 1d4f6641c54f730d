"""Any number of classes for the whole sequence: topics of an article, instruments in a recording."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import torch
from pydantic import Field
from torch import Tensor, nn

from seqloom.data.ledger import Ledger
from seqloom.data.segments import Column, Segments
from seqloom.errors import DataError
from seqloom.layers.pooling import Name, pooling
from seqloom.metrics.result import Result
from seqloom.metrics.tags import score_tags
from seqloom.outputs.output import Array, Output, OutputSettings, Places, Reading, RivalAnswers, Shape, Steps
from seqloom.scaling import Scale
from seqloom.vocabulary import Vocabulary


class TagsSettings(OutputSettings):
    """What a recipe may say of tags to be answered."""

    separator: str = Field(";", min_length=1, description="what stands between the tags of a cell")
    pooling: list[Name] = Field(["last"], min_length=1, description="how the steps become one vector: last, mean, max")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the pooled features dropped")


class Tags(Output):
    """The probability of each tag by itself; the loss is the mean binary cross-entropy over the tags.

    An empty cell is a row whose tags are not known, or, where it holds the separator alone, one that has none. Tags
    that the training part does not have cannot be answered.
    """

    Settings = TagsSettings
    shape = Shape.VECTOR
    reads_text = True
    is_class = False

    def __init__(self, name: str, settings: TagsSettings) -> None:
        super().__init__(name, settings)
        self.settings = settings
        self.vocabulary: Vocabulary

    def _apart(self, cell: str | None) -> list[str] | None:
        """The tags of a cell; None where they are not known."""
        return None if cell is None else [tag for part in cell.split(self.settings.separator) if (tag := part.strip())]

    def _ordered(self, tags: list[str]) -> list[str]:
        """Each tag once, as the vocabulary has them; those that it does not know come last."""
        known = self.vocabulary.words
        return [tag for tag in known if tag in tags] + sorted(set(tags) - set(known))

    def fit(self, values: Column) -> None:
        """The tags of the training part.

        Raises:
            DataError: it has none.
        """
        self.vocabulary = Vocabulary.fit(tag for cell in values.tolist() for tag in self._apart(cell) or [])
        if not self.vocabulary.words:
            raise DataError(f"output {self.name!r}: the training part has no tag at all; expected one or more")

    def report(self, values: Column, ledger: Ledger) -> None:
        """Tags that the training part never shows."""
        known = set(self.vocabulary.words)
        unknown = [set(self._apart(cell) or []) - known for cell in values.tolist()]
        rows = [row for row, tags in enumerate(unknown, 1) if tags]
        if rows:
            said = ", ".join(f"'{tag}'" for tag in sorted(set().union(*unknown))[:5])
            message = (
                f"target '{self.columns[0]}' has tags that the train part never shows, such as {said}, in "
                f"{ledger.at_rows(rows)}; they cannot be answered."
            )
            ledger.add("warning", "untaught-label", message, column=self.columns[0], row=rows[0], count=len(rows))

    def fitted(self) -> dict[str, Any]:
        """The tags, in the order of their codes."""
        return {"words": self.vocabulary.words}

    def restore(self, fitted: dict[str, Any]) -> None:
        """The tags."""
        self.vocabulary = Vocabulary(fitted["words"])

    def build(self, features: int, joined: int, bidirectional: bool) -> None:
        """Pooling and a linear map."""
        self.pool = pooling(self.settings.pooling, bidirectional)
        width = features * len(self.settings.pooling)
        self.decoder = nn.Sequential(nn.Dropout(self.settings.dropout), nn.Linear(width, len(self.vocabulary.words)))

    def encode(self, values: Column) -> Tensor:
        """(S, K) 1 for each tag of the row, else 0; NaN where the tags are not known."""
        found = np.zeros((len(values), len(self.vocabulary.words)))
        for row, cell in enumerate(values.tolist()):
            tags = self._apart(cell)
            codes = self.vocabulary.encode(tags or []) - 1
            found[row, codes[codes >= 0]] = 1
            found[row] = np.nan if tags is None else found[row]
        return torch.from_numpy(found)

    def forward(self, reading: Reading) -> Tensor:
        """(B, K) logits."""
        raw: Tensor = self.decoder(self.pool(reading.states))
        return raw

    def loss(self, raw: Tensor, target: Tensor, scale: Scale | None) -> Tensor:
        """Mean over the tags of the rows whose tags are known."""
        known = ~target.isnan()
        each = nn.functional.binary_cross_entropy_with_logits(raw, target.nan_to_num().to(raw), reduction="none")
        return torch.where(known, each, each.new_zeros(())).sum() / known.sum().clamp(min=1)

    def answers(self, raw: Tensor, scale: Scale | None) -> Array:
        """(B, K) probabilities."""
        probabilities: Array = torch.sigmoid(raw.double()).numpy()
        return probabilities

    def monitor(self, answers: Array, target: Array) -> tuple[str, float]:
        """F1 over all tags of all known rows."""
        known = ~np.isnan(target)
        said, true = (answers > 0.5) & known, (target == 1) & known
        members = said.sum() + true.sum()
        return "F1", float(2 * (said & true).sum() / members) if members else float("nan")

    def frame(self, answers: Array, segments: Segments, places: Places) -> pl.DataFrame:
        """One row for each sequence: id, y, y_hat (the tags above one half) and the probability p-<tag> of each.

        Both have their tags in the order of the vocabulary, so that equal answers are equal texts.
        """
        words, mark = self.vocabulary.words, self.settings.separator
        said = [mark.join(word for word, p in zip(words, row, strict=True) if p > 0.5) or mark for row in answers]
        truth = [self._apart(cell) for cell in self.read(segments)[places.segment].tolist()]
        columns: dict[str, Any] = {
            "id": [segments.ids[k] for k in places.segment],
            "y": pl.Series([None if tags is None else mark.join(self._ordered(tags)) or mark for tags in truth]),
            "y_hat": said,
        }
        return pl.DataFrame(
            columns | {f"p-{word}": answers[:, k] for k, word in enumerate(words)},
            schema_overrides={"id": pl.String, "y": pl.String},
        )

    def score(self, frame: pl.DataFrame, segments: Segments, ends: Steps) -> Result:
        """Micro and macro F1, how often all tags of a row are right, and calibration."""
        true, said = ([self._apart(cell) for cell in frame[name].to_list()] for name in ("y", "y_hat"))
        words = self.vocabulary.words
        probabilities = frame.select(f"p-{word}" for word in words).to_numpy()
        return score_tags(true, [tags or [] for tags in said], labels=words, probabilities=probabilities)

    def rivals(self, segments: Segments, places: Places, training: Column) -> list[RivalAnswers]:
        """Each tag as often as the training part has it, said of every row."""
        shares = np.nanmean(self.encode(training).numpy(), axis=0)
        return [RivalAnswers("majority", self.frame(np.tile(shares, (len(places.segment), 1)), segments, places), ())]
