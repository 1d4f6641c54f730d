"""From a sequence to one vector. Every pooling reads valid steps only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from seqloom.sequences import Sequences


class Pooling(nn.Module, ABC):
    """(B, T, F) to (B, F); an empty row gives zeros.

    A pooling reads chunk by chunk, as a recurrence does: its memory is a state, a named tuple of (B, ...) tensors,
    made by `initial_state`, passed in and returned.
    """

    @abstractmethod
    def initial_state(self, batch_size: int, features: int, like: Tensor) -> Any:
        """The state before the first step, with the type and device of `like`."""

    @abstractmethod
    def read(self, chunk: Sequences, state: Any) -> Any:
        """The state after the next steps."""

    @abstractmethod
    def vector(self, state: Any) -> Tensor:
        """(B, F): what was made of all steps so far."""

    def forward(self, input: Sequences) -> Tensor:
        """One vector for each row."""
        B, _, F = input.values.shape
        return self.vector(self.read(input, self.initial_state(B, F, input.values)))


class LastState(NamedTuple):
    """end: the output at the last step so far, (B, F). begun: whether there was any step, (B,) bool."""

    end: Tensor
    begun: Tensor


class Last(Pooling):
    """The output at each row's true end; of the backward half of a bidirectional stack, its true end is step 0."""

    def __init__(self, bidirectional: bool) -> None:
        super().__init__()
        self.bidirectional = bidirectional

    def initial_state(self, batch_size: int, features: int, like: Tensor) -> LastState:
        """Zeros."""
        return LastState(like.new_zeros(batch_size, features), like.new_zeros(batch_size, dtype=torch.bool))

    def read(self, chunk: Sequences, state: LastState) -> LastState:
        """The last step of this chunk, where a row has any; of the backward half the first of all."""
        filled = (chunk.lengths > 0).to(state.begun.device)
        if not self.bidirectional:
            return LastState(torch.where(filled.unsqueeze(1), chunk.last(), state.end), state.begun | filled)
        forward, backward = chunk.values.chunk(2, dim=-1)
        end, first = state.end.chunk(2, dim=-1)
        end = torch.where(filled.unsqueeze(1), chunk.with_values(forward).last(), end)
        begins = (filled & ~state.begun).unsqueeze(1)
        first = torch.where(begins, chunk.with_values(backward).reverse().last(), first)
        return LastState(torch.cat([end, first], dim=-1), state.begun | filled)

    def vector(self, state: LastState) -> Tensor:
        """(B, F)."""
        return state.end


class MeanState(NamedTuple):
    """total: sum of the outputs so far, (B, F). steps: so far, (B,) int64."""

    total: Tensor
    steps: Tensor


class Mean(Pooling):
    """The mean over valid steps."""

    def initial_state(self, batch_size: int, features: int, like: Tensor) -> MeanState:
        """Zeros."""
        return MeanState(like.new_zeros(batch_size, features), like.new_zeros(batch_size, dtype=torch.int64))

    def read(self, chunk: Sequences, state: MeanState) -> MeanState:
        """The sums go on."""
        total = state.total + chunk.zero_padding().values.sum(dim=1)
        return MeanState(total, state.steps + chunk.lengths.to(state.steps.device))

    def vector(self, state: MeanState) -> Tensor:
        """(B, F)."""
        return state.total / state.steps.clamp(min=1).to(state.total).unsqueeze(1)


class MaxState(NamedTuple):
    """highest: of each feature so far, (B, F). ties: steps that reached it, (B, F) int64, 0 before any step."""

    highest: Tensor
    ties: Tensor


class Max(Pooling):
    """The largest value of each feature over valid steps; steps that tie share its gradient equally."""

    def initial_state(self, batch_size: int, features: int, like: Tensor) -> MaxState:
        """Zeros, which count for nothing."""
        return MaxState(like.new_zeros(batch_size, features), like.new_zeros(batch_size, features, dtype=torch.int64))

    def read(self, chunk: Sequences, state: MaxState) -> MaxState:
        """The higher of what was and what comes."""
        if chunk.values.shape[1] == 0:
            return state
        valid = chunk.valid.unsqueeze(2)
        values = torch.where(valid, chunk.values, torch.finfo(chunk.values.dtype).min)
        highest = values.amax(dim=1)
        ties = ((values == highest.unsqueeze(1)) & valid).sum(dim=1)
        return _higher(state, MaxState(highest, ties))

    def vector(self, state: MaxState) -> Tensor:
        """(B, F)."""
        return torch.where(state.ties > 0, state.highest, state.highest.new_zeros(()))


def _higher(a: MaxState, b: MaxState) -> MaxState:
    """Feature by feature the higher of two; where both are, the sum of their ties, by which they share the gradient."""
    above = (b.ties > 0) & ((a.ties == 0) | (b.highest > a.highest))
    equal = (a.ties > 0) & (b.ties > 0) & (a.highest == b.highest)
    ties = torch.where(above, b.ties, torch.where(equal, a.ties + b.ties, a.ties))
    share = torch.where(equal, b.ties.to(a.highest) / ties.clamp(min=1).to(a.highest), 0.0)
    kept = a.highest + share * torch.where(equal, b.highest - a.highest, 0.0)  # adds zero; passes the gradient on
    return MaxState(torch.where(above, b.highest, kept), ties)


class SideBySide(Pooling):
    """Several poolings, one after another in the vector."""

    def __init__(self, parts: Sequence[Pooling]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def poolings(self) -> list[Pooling]:
        """The parts."""
        return cast(list[Pooling], list(self.parts))

    def initial_state(self, batch_size: int, features: int, like: Tensor) -> Any:
        """That of each part."""
        return tuple(part.initial_state(batch_size, features, like) for part in self.poolings())

    def read(self, chunk: Sequences, state: Any) -> Any:
        """Each part reads it."""
        return tuple(part.read(chunk, memory) for part, memory in zip(self.poolings(), state, strict=True))

    def vector(self, state: Any) -> Tensor:
        """(B, F times the number of parts)."""
        vectors = [part.vector(memory) for part, memory in zip(self.poolings(), state, strict=True)]
        return torch.cat(vectors, dim=-1)


Name = Literal["last", "mean", "max"]


def pooling(names: Sequence[Name], bidirectional: bool) -> Pooling:
    """The poolings of those names, side by side."""
    known = {"last": Last(bidirectional), "mean": Mean(), "max": Max()}
    return SideBySide([known[name] for name in names])
