"""Whole rows in shuffled batches: every example, or window, from its first step to its last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from seqloom.batch import Batch, cut, steps_of
from seqloom.model import SequenceModel
from seqloom.outputs.output import Steps
from seqloom.training.lessons import Lessons, Material
from seqloom.training.order import Bucketed, Order, Shuffled


class Windows(Lessons):
    """Plain backpropagation through the whole of each row."""

    def __init__(self, model: SequenceModel, material: Material) -> None:
        super().__init__(model, material)
        self.steps = steps_of(material.encoded, material.train)
        self.order = self._order()
        self.per_epoch = self.order.per_epoch

    def learn(self, number: int, share: float) -> float:
        """Forward and backward over one batch."""
        return self._learn(self.order.rows(number), share)

    def reads(self, number: int) -> Iterator[tuple[Batch, Any]]:
        """The batch, from the initial state."""
        yield self._batch(self.order.rows(number)), None

    @property
    def largest(self) -> str:
        """Rows and steps."""
        rows = self.order.largest(self.steps)
        return f"{len(rows)} rows of {int(self.steps[rows].max(initial=0))} steps"

    def rehearse(self) -> None:
        """The longest rows side by side."""
        self._learn(self.order.largest(self.steps), 1.0)

    def _order(self) -> Order:
        settings = self.settings
        if settings.batch_tokens is not None:
            return Bucketed(self.steps, settings.batch_size, settings.batch_tokens, settings.seed)
        return Shuffled(len(self.steps), settings.batch_size, settings.seed)

    def _learn(self, rows: Steps, share: float) -> float:
        loss, _ = self.loss(self._batch(rows))
        (loss * share).backward()  # type: ignore[no-untyped-call]
        return loss.item()

    def _batch(self, rows: Steps) -> Batch:
        places = self.material.train.take(rows)
        return cut(self.material.encoded, places, self.model.inputs, self.model.outputs)
