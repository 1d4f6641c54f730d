"""Tiny language models as step functions, and the truth about them by looking at every text."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqloom.search import Found, Next

START = 0  # a token before the text; it is never written, like the padding of a real vocabulary


class Memory(NamedTuple):
    """seen: (N,) a number for all tokens so far. table: (N,) which model the row has. more: any nesting."""

    seen: Tensor
    table: Tensor
    more: dict[str, tuple[Tensor, None]]


class Tiny:
    """Next tokens depend on the whole text so far, by random tables, one for each row of the first state.

    Args:
        words: tokens V, the end token included.
        rows: how many different models.
        seed: of the tables.
        source: steps S of the attention, which is as random.
    """

    def __init__(self, words: int, rows: int = 1, seed: int = 0, source: int = 0, peaked: float = 2.0) -> None:
        random = np.random.default_rng(seed)
        self.end = words - 1
        self.logits = torch.from_numpy(random.normal(0, peaked, (rows, 997, words)))
        self.looks = torch.from_numpy(random.normal(0, 2, (rows, 997, source))) if source else None
        self.calls = 0

    def state(self) -> Memory:
        rows = len(self.logits)
        number = torch.arange(rows)
        return Memory(torch.ones(rows, dtype=torch.int64), number, {"deep": (number.double().unsqueeze(1), None)})

    def row(self, row: int) -> Memory:
        """The state before the text of one row alone."""
        state = self.state()
        one = slice(row, row + 1)
        return Memory(state.seen[one], state.table[one], {"deep": (state.more["deep"][0][one], None)})

    def start(self) -> Tensor:
        return torch.full((len(self.logits),), START)

    def __call__(self, tokens: Tensor, state: Memory) -> Next:
        self.calls += 1
        assert torch.equal(state.more["deep"][0][:, 0].long(), state.table), "all parts of a state are forked alike"
        seen = (state.seen * 31 + tokens + 7) % 997
        scores = torch.log_softmax(self.logits[state.table, seen], dim=-1)
        attention = None if self.looks is None else torch.softmax(self.looks[state.table, seen], dim=-1)
        return Next(scores, state._replace(seen=seen), attention)

    def score(self, text: tuple[int, ...], row: int = 0) -> tuple[float, Tensor | None]:
        """The model's own score of a text with its end, computed token by token, and its attention (U, S)."""
        state, total, looks, last = self.row(row), 0.0, [], START
        for token in text:
            found = self(torch.tensor([last]), state)
            total += float(found.scores[0, token])
            looks.append(found.attention)
            state, last = found.state, token
        return total, None if self.looks is None else torch.cat(looks)  # type: ignore[arg-type]

    def texts(self, longest: int) -> list[tuple[int, ...]]:
        """Every text of at most so many tokens, its end included."""
        inner = [token for token in range(self.end + 1) if token != self.end]
        return [(*body, self.end) for n in range(longest) for body in itertools.product(inner, repeat=n)]


def text(found: Found, row: int, place: int = 0) -> tuple[int, ...]:
    """The tokens of one text that a search has found."""
    return tuple(found.tokens[row, place, : found.lengths[row, place]].tolist())
