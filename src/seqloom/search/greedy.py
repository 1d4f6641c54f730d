"""The most likely token at every step."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from seqloom.search.follow import follow
from seqloom.search.step import Found, Step


def greedy(step: Step, state: Any, start: Tensor, *, end: int, max_length: int | Tensor) -> Found:
    """One text for each row (K = 1); of equally likely tokens the one with the smaller number.

    Args:
        step: scores of the next token; see `Step`.
        state: before the first token, B rows.
        start: (B,) the token that stands before the text.
        end: the token that ends a text.
        max_length: the most tokens, the end included; one number, or one for each row.

    Raises:
        UsageError: a limit below 1, or a step function that gives no log-probabilities.
    """
    return follow(step, state, start, lambda scores, rows, past: scores.argmax(dim=1), end=end, max_length=max_length)
