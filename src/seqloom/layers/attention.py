"""Attention: what a step that writes looks at in the steps that were read. Padding is never looked at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqloom.errors import UsageError
from seqloom.layers.additive_scores import additive_scores
from seqloom.layers.linear import Linear
from seqloom.sequences import Sequences


class Memory(NamedTuple):
    """What can be looked at, prepared once for all queries. A state like any other: rows may be selected and forked.

    Attributes:
        keys: (B, S, A) what a query is compared with.
        values: (B, S, C) what is taken, zero on padding.
        padding: (B, S) bool, True where nothing is.
    """

    keys: Tensor
    values: Tensor
    padding: Tensor


class Attended(NamedTuple):
    """What was found.

    Attributes:
        context: (B, U, output_size) the values, weighted; zeros where there is nothing to look at.
        weights: (B, U, S) the weights, 0 on padding, summing to 1 wherever there is something to look at.
    """

    context: Tensor
    weights: Tensor


class Attention(nn.Module, ABC):
    """From queries (B, U, query_size) to what they find in a memory.

    Attributes:
        output_size: features of the context.
    """

    output_size: int

    @abstractmethod
    def remember(self, states: Sequences) -> Memory:
        """Prepare the steps (B, S, memory_size) that can be looked at."""

    @abstractmethod
    def forward(self, query: Tensor, memory: Memory) -> Attended:
        """Look with every query (B, U, query_size)."""


class Additive(Attention):
    """`score = v . tanh(W q + U k + b)` (Bahdanau, Cho and Bengio, ICLR 2015, appendix A.1.2).

    Args:
        query_size: features of a query.
        memory_size: features of a step that can be looked at.
        size: features A that both are mapped to.
    """

    def __init__(self, query_size: int, memory_size: int, size: int) -> None:
        super().__init__()
        self.output_size = memory_size
        self.query = Linear(query_size, size, bias=False)
        self.key = Linear(memory_size, size)
        self.score = nn.Linear(size, 1, bias=False)

    def remember(self, states: Sequences) -> Memory:
        """Keys `U k + b`."""
        values = states.zero_padding().values
        return Memory(self.key(values), values, states.padding_mask)

    def forward(self, query: Tensor, memory: Memory) -> Attended:
        """Look with every query."""
        scores = additive_scores(self.query(query), memory.keys, self.score.weight[0])
        weights = masked_softmax(scores, memory.padding)
        return Attended(_weighed(weights, memory.values), weights)


class Multiplicative(Attention):
    """`score = q . W k` (Luong, Pham and Manning, EMNLP 2015, equation 8, "general").

    Args:
        query_size: features of a query.
        memory_size: features of a step that can be looked at.
    """

    def __init__(self, query_size: int, memory_size: int) -> None:
        super().__init__()
        self.output_size = memory_size
        self.key = Linear(memory_size, query_size, bias=False)

    def remember(self, states: Sequences) -> Memory:
        """Keys `W k`."""
        values = states.zero_padding().values
        return Memory(self.key(values), values, states.padding_mask)

    def forward(self, query: Tensor, memory: Memory) -> Attended:
        """Look with every query."""
        weights = masked_softmax(query @ memory.keys.transpose(1, 2), memory.padding)
        return Attended(_weighed(weights, memory.values), weights)


class MultiHead(Attention):
    """Several scaled products side by side, `score = q_h . k_h / sqrt(d)` (Vaswani et al., 2017, section 3.2.2).

    The weights that are given back are the mean over the heads.

    Args:
        query_size: features of a query; also those of the context.
        memory_size: features of a step that can be looked at.
        heads: how many, a divisor of `query_size`; each has d = query_size / heads features.

    Raises:
        UsageError: `query_size` cannot be divided among the heads.
    """

    def __init__(self, query_size: int, memory_size: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or query_size % heads:
            raise UsageError(
                f"attention of {heads} heads over {query_size} features; expected a number of heads that divides "
                f"{query_size}: change the heads or the hidden size"
            )
        self.output_size = query_size
        self.heads = heads
        self.query = Linear(query_size, query_size)
        self.key = Linear(memory_size, query_size)
        self.value = Linear(memory_size, query_size, bias=False)
        self.output = Linear(query_size, query_size, bias=False)

    def remember(self, states: Sequences) -> Memory:
        """Keys and values of all heads."""
        values = states.zero_padding().values
        return Memory(self.key(values), self.value(values), states.padding_mask)

    def forward(self, query: Tensor, memory: Memory) -> Attended:
        """Look with every query and every head."""
        q, k, v = (self._split(part) for part in (self.query(query), memory.keys, memory.values))
        scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5
        weights = masked_softmax(scores, memory.padding.unsqueeze(1))
        context = self.output((weights @ v).transpose(1, 2).flatten(2))
        return Attended(context, weights.mean(dim=1))

    def _split(self, values: Tensor) -> Tensor:
        """(B, T, heads * d) to (B, heads, T, d)."""
        d = values.shape[-1] // self.heads
        return values.reshape(*values.shape[:-1], self.heads, d).transpose(1, 2)


def _weighed(weights: Tensor, values: Tensor) -> Tensor:
    """(B, U, C) what (B, U, S) weights make of (B, S, C) values, in the values' own precision."""
    # The products are so small that casting the values would take longer.
    with torch.autocast(values.device.type, enabled=False):
        return weights.to(values.dtype) @ values


def masked_softmax(scores: Tensor, padding: Tensor) -> Tensor:
    """Shares of the scores (..., U, S) that are not padding (..., S); all zero where everything is."""
    hidden = padding.unsqueeze(-2)
    shares = torch.softmax(scores.masked_fill(hidden, torch.finfo(scores.dtype).min), dim=-1)
    return shares.masked_fill(hidden, 0.0)
