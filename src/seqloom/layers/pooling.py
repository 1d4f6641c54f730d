"""From a sequence to one vector. Every pooling reads valid steps only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from seqloom.sequences import Sequences


class Pooling(nn.Module, ABC):
    """(B, T, F) to (B, F); an empty row gives zeros."""

    @abstractmethod
    def forward(self, input: Sequences) -> Tensor:
        """One vector for each row."""


class Last(Pooling):
    """The output at each row's true end; of the backward half of a bidirectional stack, its true end is step 0."""

    def __init__(self, bidirectional: bool) -> None:
        super().__init__()
        self.bidirectional = bidirectional

    def forward(self, input: Sequences) -> Tensor:
        """(B, F)."""
        if not self.bidirectional:
            return input.last()
        forward, backward = input.values.chunk(2, dim=-1)
        first = input.with_values(backward).reverse().last()
        return torch.cat([input.with_values(forward).last(), first], dim=-1)


class Mean(Pooling):
    """The mean over valid steps."""

    def forward(self, input: Sequences) -> Tensor:
        """(B, F)."""
        count = input.lengths.clamp(min=1).to(input.values).unsqueeze(1)
        return input.zero_padding().values.sum(dim=1) / count


class Max(Pooling):
    """The largest value of each feature over valid steps."""

    def forward(self, input: Sequences) -> Tensor:
        """(B, F)."""
        if input.values.shape[1] == 0:
            return input.values.new_zeros(len(input.lengths), input.values.shape[2])
        lowest = torch.finfo(input.values.dtype).min
        values = torch.where(input.valid.unsqueeze(2), input.values, lowest).amax(dim=1)
        empty = (input.lengths == 0).to(values.device).unsqueeze(1)
        return torch.where(empty, values.new_zeros(()), values)


class SideBySide(Pooling):
    """Several poolings, one after another in the vector."""

    def __init__(self, parts: Sequence[Pooling]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, input: Sequences) -> Tensor:
        """(B, F times the number of parts)."""
        return torch.cat([part(input) for part in self.parts], dim=-1)


Name = Literal["last", "mean", "max"]


def pooling(names: Sequence[Name], bidirectional: bool) -> Pooling:
    """The poolings of those names, side by side."""
    known = {"last": Last(bidirectional), "mean": Mean(), "max": Max()}
    return SideBySide([known[name] for name in names])
