"""`Decoder`: writes a sequence of tokens, looking at the steps that another stack has read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqloom.cells.cell import Cell
from seqloom.layers.attention import Attention, Memory
from seqloom.layers.bridge import Bridge
from seqloom.layers.linear import Linear
from seqloom.layers.recurrent import Recurrent
from seqloom.sequences import Sequences
from seqloom.state import where


class DecoderState(NamedTuple):
    """All that a decoder knows between two tokens; rows first, so that a search forks it.

    Attributes:
        core: of the recurrent stack.
        memory: what can be looked at.
        fed: (B, size) features of the last token, with input feeding; else None.
    """

    core: Any
    memory: Memory
    fed: Tensor | None


class Decoded(NamedTuple):
    """What a decoder made of some tokens.

    Attributes:
        features: (B, U, size) what the next token is told from, see `Decoder.logits`.
        weights: (B, U, S) attention over the memory.
        state: after each row's last valid token.
    """

    features: Tensor
    weights: Tensor
    state: DecoderState


class Decoder(nn.Module):
    """Embedding, recurrent stack, attention (Luong, Pham and Manning, EMNLP 2015, sections 3 and 3.3).

        s_u = stack(E[y_u-1] ; f_u-1 with input feeding)
        c_u = attention(s_u)
        f_u = tanh(W [s_u ; c_u] + b)
        p(y_u) = softmax(V f_u + d)

    Without input feeding the stack does not depend on what was looked at, so it reads all given tokens in one
    call of a whole-sequence kernel, and attention follows for all of them at once.

    Args:
        source: the stack whose steps are looked at and whose final state is handed over.
        vocabulary: tokens V.
        cell: class of the recurrence.
        size: features of an embedding, and of f.
        hidden_size: H of each cell.
        num_layers: layers of the stack.
        attention: from the sizes of a query and of a remembered step to the attention.
        input_feeding: show the stack what came of the last token; forces a loop over tokens.
        tied: the embedding is V too (Press and Wolf, 2017).
        dropout: share dropped of embeddings, between layers, and of f, 0 <= dropout < 1.
        backend: kernel of the stack.
        options: further arguments of the cell.
    """

    def __init__(
        self,
        source: Recurrent,
        vocabulary: int,
        *,
        cell: type[Cell],
        size: int,
        hidden_size: int,
        num_layers: int,
        attention: Callable[[int, int], Attention],
        input_feeding: bool = False,
        tied: bool = True,
        dropout: float = 0.0,
        backend: str = "auto",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.input_feeding = input_feeding
        self.size = size
        self.embedding = nn.Embedding(vocabulary, size)
        nn.init.normal_(self.embedding.weight, std=size**-0.5)  # f is within 1, so logits begin within a few units
        read = size + size if input_feeding else size
        self.core = Recurrent(cell, read, hidden_size, num_layers, dropout=dropout, backend=backend, options=options)
        self.bridge = Bridge(source.bare_state(source.initial_state(1)), self.core.initial_state(1))
        self.attention = attention(self.core.output_size, source.output_size)
        self.combine = Linear(self.core.output_size + self.attention.output_size, size)
        self.output = None if tied else nn.Linear(size, vocabulary, bias=False)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.dropout = nn.Dropout(dropout)

    def begin(self, states: Sequences, final: Any) -> DecoderState:
        """The state before the first token.

        Args:
            states: (B, S, F) steps of the source.
            final: its bare state after each row's last step.
        """
        B = len(states.lengths)
        fed = self.combine.weight.new_zeros(B, self.size) if self.input_feeding else None
        return DecoderState(self.bridge(final, self.core.initial_state(B)), self.attention.remember(states), fed)

    def forward(self, tokens: Sequences, state: DecoderState) -> Decoded:
        """Read the tokens (B, U) that come before those to be told."""
        embedded = self.dropout(self.embedding(tokens.zero_padding().values))
        if state.fed is None:
            return self._together(tokens.with_values(embedded), state)
        return self._one_by_one(tokens.with_values(embedded), state)

    def _together(self, embedded: Sequences, state: DecoderState) -> Decoded:
        outputs, core = self.core(embedded, state.core)
        features, weights = self._look(outputs.values, state.memory)
        return Decoded(features, weights, state._replace(core=core))

    def _one_by_one(self, embedded: Sequences, state: DecoderState) -> Decoded:
        assert state.fed is not None
        B, U = embedded.values.shape[:2]
        valid, full = embedded.valid, embedded.is_full
        core, fed = state.core, state.fed
        found = []
        for u in range(U):
            read = torch.cat([embedded.values[:, u], fed], dim=1).unsqueeze(1)
            output, new = self.core(Sequences.full(read), core)
            features, weights = self._look(output.values, state.memory)
            found.append((features, weights))
            core, fed = (new, features[:, 0]) if full else where(valid[:, u], (new, features[:, 0]), (core, fed))
        if not found:
            features, weights = self._look(embedded.values.new_zeros(B, 0, self.core.output_size), state.memory)
            return Decoded(features, weights, state)
        features, weights = (torch.cat(part, dim=1) for part in zip(*found, strict=True))
        return Decoded(features, weights, DecoderState(core, state.memory, fed))

    def _look(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        context, weights = self.attention(query, memory)
        combined = torch.tanh(self.combine(torch.cat([query, context], dim=-1)))
        return self.dropout(combined), weights

    def logits(self, features: Tensor) -> Tensor:
        """(..., size) features of a token to (..., V) of every token that may stand there."""
        return nn.functional.linear(features, self.vectors, self.bias)

    @property
    def vectors(self) -> Tensor:
        """(V, size) what features are multiplied with, one for each token that may stand there."""
        return self.embedding.weight if self.output is None else self.output.weight
