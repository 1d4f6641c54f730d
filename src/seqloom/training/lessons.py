"""`Lessons`: what each training step reads, and how its gradient is made. A new way is a new file in this folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqloom.batch import Batch, Encoded
from seqloom.model import SequenceModel
from seqloom.outputs.output import Places


@dataclass(frozen=True)
class Material:
    """What is learned from: an encoded table and the places of its training and validation parts."""

    encoded: Encoded
    train: Places
    valid: Places


class Lessons(ABC):
    """The batches of a training, numbered from 0 on; what batch k reads is a function of k.

    Attributes:
        per_epoch: batches in which every training row is read once.
        progress: share of the training that is done, for outputs that are taught in another way as it goes on; set
            before each step.
    """

    per_epoch: float
    progress: float = 0.0

    def __init__(self, model: SequenceModel, material: Material) -> None:
        self.model = model
        self.material = material
        self.settings = model.recipe.training

    @abstractmethod
    def learn(self, number: int, share: float) -> float:
        """Add `share` times the gradient of a batch's mean loss to the weights' gradients; returns the loss."""

    @abstractmethod
    def reads(self, number: int) -> Iterator[tuple[Batch, Any]]:
        """What `learn` has just read, piece by piece, each with the state before it; to look for a bad number in."""

    @property
    @abstractmethod
    def largest(self) -> str:
        """The size of the largest batch, in words."""

    @abstractmethod
    def rehearse(self) -> None:
        """Learn the largest batch, before the first step."""

    def tensors(self) -> dict[str, Tensor]:
        """What the next batch depends on besides weights and its number; part of a checkpoint."""
        return {}

    def restore(self, tensors: dict[str, Tensor]) -> None:  # noqa: B027 -- most ways of learning carry nothing
        """Take back what `tensors` gave."""

    @property
    def low(self) -> bool:
        """Whether the forward pass runs in bfloat16."""
        return self.settings.precision == "bfloat16"

    def arithmetic(self) -> torch.autocast:
        """The precision of the forward pass, as a context."""
        return torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.low)

    def loss(self, batch: Batch, state: Any = None) -> tuple[Tensor, Any]:
        """The mean loss of a batch that is read on from `state`, and the state after it."""
        with self.arithmetic():
            reading, state = self.model.read(batch, state)
            raw = self.model.decode(reading._replace(progress=self.progress))
            loss = self.model.loss(self.full(raw), batch)
        return loss, state

    def full(self, raw: dict[str, Tensor]) -> dict[str, Tensor]:
        """Raw answers in the precision of losses."""
        return {name: answer.float() for name, answer in raw.items()} if self.low else raw
