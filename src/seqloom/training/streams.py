"""Truncated backpropagation through time: rows that run through the training sequences and carry their state on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqloom.batch import Batch, cut, own_scales
from seqloom.errors import DataError
from seqloom.model import SequenceModel
from seqloom.outputs.output import Places, Steps
from seqloom.state import detach, from_bytes, map_state, to_bytes, where
from seqloom.training.lessons import Lessons, Material
from seqloom.training.order import permutation


class Pieces(NamedTuple):
    """What the rows of one batch read next.

    Attributes:
        places: (B,) the steps of each row; none for a row that is done before the epoch is.
        source: (B,) the training place that each piece is part of.
        fresh: (B,) whether the row begins with the initial state here.
    """

    places: Places
    source: Steps
    fresh: npt.NDArray[np.bool_]


class Line:
    """All pieces of an epoch in one line, cut into B stretches of equal length: row b walks along stretch b.

    The sequences stand in an order of the epoch's own; each is cut into pieces of `steps` steps, the last one
    shorter. A stretch may begin inside a sequence, so one long sequence keeps all rows busy; at most B - 1
    sequences of an epoch are divided that way.

    Args:
        places: the training sequences.
        steps: of each piece.
        rows: B wanted; fewer where there are not so many pieces.
        seed: of the order.

    Raises:
        DataError: the sequences have no step at all.
    """

    def __init__(self, places: Places, *, steps: int, rows: int, seed: int) -> None:
        self.places = places
        self.steps = steps
        self.seed = seed
        self.counts = -(-(places.origin - places.start) // steps)
        self.total = int(self.counts.sum())
        if self.total == 0:
            raise DataError(f"the {len(self.counts)} training sequences have no step at all; expected at least one")
        self.rows = min(rows, self.total)
        self.batches = -(-self.total // self.rows)

    def pieces(self, number: int) -> Pieces:
        """What batch 0, 1, ... reads: a function of the seed and the number alone."""
        epoch, turn = divmod(number, self.batches)
        order = permutation(len(self.counts), self.seed, epoch)
        after = np.cumsum(self.counts[order])
        edges = np.arange(self.rows + 1) * self.total // self.rows
        done = edges[:-1] + turn >= edges[1:]
        place = np.where(done, edges[:-1], edges[:-1] + turn)
        found = np.searchsorted(after, place, side="right")
        source = order[found]
        piece = place - (after - self.counts[order])[found]
        start = self.places.start[source] + piece * self.steps
        end = np.where(done, start, np.minimum(start + self.steps, self.places.origin[source]))
        return Pieces(Places(self.places.segment[source], start, end, end), source, (piece == 0) | (turn == 0))


class Streams(Lessons):
    """B rows side by side, `training.tbptt_steps` at a time (Williams & Peng, 1990, truncated to one piece).

    The state after a piece is where the next piece of the row begins, cut from the graph; where a row comes to a
    new sequence, and where an epoch begins, it is the initial state. An input scaled by its own past keeps the
    scale of its whole sequence.
    """

    def __init__(self, model: SequenceModel, material: Material) -> None:
        super().__init__(model, material)
        steps = self.settings.tbptt_steps
        assert steps is not None
        self.line = Line(material.train, steps=steps, rows=self.settings.batch_size, seed=self.settings.seed)
        self.per_epoch = self.line.batches
        self.scales = own_scales(material.encoded, material.train, model.inputs)
        self.before = self.after = detach(model.initial_state(self.line.rows))

    def learn(self, number: int, share: float) -> float:
        """Forward and backward over one piece of each row."""
        pieces = self.line.pieces(number)
        initial = self.model.initial_state(self.line.rows)
        self.before = where(torch.from_numpy(pieces.fresh), initial, self.after)
        loss, after = self.loss(self._batch(pieces), self.before)
        (loss * share).backward()  # type: ignore[no-untyped-call]
        self.after = map_state(lambda new, old: new.detach().to(old.dtype), after, initial)
        return loss.item()

    def reads(self, number: int) -> Iterator[tuple[Batch, Any]]:
        """The pieces, from the state that was carried to them."""
        yield self._batch(self.line.pieces(number)), self.before

    @property
    def largest(self) -> str:
        """Rows and steps."""
        return f"{self.line.rows} rows of {self.line.steps} steps"

    def rehearse(self) -> None:
        """The first pieces, which are as long as any; no state is carried from here."""
        self.learn(0, 1.0)
        self.after = detach(self.model.initial_state(self.line.rows))

    def tensors(self) -> dict[str, Tensor]:
        """The carried state, as the bytes of a saved state."""
        return {"carried": torch.frombuffer(bytearray(to_bytes(self.after)), dtype=torch.uint8)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The carried state."""
        self.after = from_bytes(tensors["carried"].numpy().tobytes(), like=self.model.initial_state(self.line.rows))

    def _batch(self, pieces: Pieces) -> Batch:
        source = torch.from_numpy(pieces.source)
        scales = {name: scale.take(source) for name, scale in self.scales.items()}
        return cut(self.material.encoded, pieces.places, self.model.inputs, self.model.outputs, scales)
