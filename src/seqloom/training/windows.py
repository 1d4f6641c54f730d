"""Whole rows in shuffled batches: every example, or window, from its first step to its last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from seqloom.batch import Batch, cut
from seqloom.model import SequenceModel
from seqloom.outputs.output import Steps
from seqloom.training.lessons import Lessons, Material
from seqloom.training.order import rows_of_step


class Windows(Lessons):
    """Plain backpropagation through the whole of each row."""

    def __init__(self, model: SequenceModel, material: Material) -> None:
        super().__init__(model, material)
        self.count = len(material.train.segment)
        self.rows = min(self.settings.batch_size, self.count)
        self.per_epoch = self.count / self.rows

    def learn(self, number: int, share: float) -> float:
        """Forward and backward over one batch."""
        return self._learn(rows_of_step(self.count, self.rows, self.settings.seed, number), share)

    def reads(self, number: int) -> Iterator[tuple[Batch, Any]]:
        """The batch, from the initial state."""
        yield self._batch(rows_of_step(self.count, self.rows, self.settings.seed, number)), None

    @property
    def largest(self) -> str:
        """Rows and steps."""
        lengths = self._lengths()
        return f"{self.rows} rows of {int(lengths[self._longest()].max(initial=0))} steps"

    def rehearse(self) -> None:
        """The longest rows side by side."""
        self._learn(self._longest(), 1.0)

    def _lengths(self) -> Steps:
        return self.material.train.stop - self.material.train.start

    def _longest(self) -> Steps:
        return np.argsort(-self._lengths(), kind="stable")[: self.rows]

    def _learn(self, rows: Steps, share: float) -> float:
        loss, _ = self.loss(self._batch(rows))
        (loss * share).backward()  # type: ignore[no-untyped-call]
        return loss.item()

    def _batch(self, rows: Steps) -> Batch:
        places = self.material.train.take(rows)
        return cut(self.material.encoded, places, self.model.inputs, self.model.outputs)
