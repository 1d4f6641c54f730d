"""One text for each row, token by token; whoever calls says which token is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from seqloom.search.step import Found, Step, call, limits
from seqloom.state import select

# Scores of the next token (N, V), the rows' numbers (N,) and their tokens so far (N, u) to the tokens taken (N,).
Choose = Callable[[Tensor, Tensor, Tensor], Tensor]


@torch.no_grad()
def follow(step: Step, state: Any, start: Tensor, choose: Choose, *, end: int, max_length: int | Tensor) -> Found:
    """Tokens as `choose` takes them until each row's end token; rows that have ended are no longer computed.

    Args:
        step: scores of the next token; see `Step`.
        state: before the first token, B rows.
        start: (B,) the token that stands before the text, and is not part of it.
        choose: takes one token for each row.
        end: the token that ends a text.
        max_length: the most tokens, the end included; one number, or one for each row. The last one is the end
            token, whatever `choose` says.
    """
    most = limits(start, max_length)
    B, U = len(start), int(most.max()) if len(most) else 0
    tokens = torch.full((B, U), end, dtype=torch.int64)
    lengths, scores = torch.zeros(B, dtype=torch.int64), torch.zeros(B, dtype=torch.float64)
    attention: Tensor | None = None
    rows, last = torch.arange(B), start
    for u in range(U):
        if not len(rows):
            break
        found = call(step, last, state, end)
        last = torch.where(most[rows] == u + 1, end, choose(found.scores, rows, tokens[rows, :u]))
        tokens[rows, u] = last
        lengths[rows] += 1
        scores[rows] += found.scores.gather(1, last.unsqueeze(1)).squeeze(1).double()
        if found.attention is not None:
            if attention is None:
                attention = found.attention.new_zeros(B, U, found.attention.shape[1])
            attention[rows, u] = found.attention
        going = (last != end).nonzero().squeeze(1)
        state = found.state if len(going) == len(rows) else select(found.state, going)
        rows, last = rows[going], last[going]
    longest = int(lengths.max()) if B else 0
    weights = None if attention is None else attention[:, None, :longest]
    ranks = scores.unsqueeze(1)
    return Found(tokens[:, None, :longest], lengths.unsqueeze(1), ranks.clone(), ranks, weights)
