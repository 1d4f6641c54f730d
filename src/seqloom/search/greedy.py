"""The most likely token at every step."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from seqloom.search.follow import follow
from seqloom.search.repetition import check_repetition, hold_back
from seqloom.search.step import Found, Step


def greedy(
    step: Step,
    state: Any,
    start: Tensor,
    *,
    end: int,
    max_length: int | Tensor,
    repetition_penalty: float = 1.0,
    no_repeat: int | None = None,
) -> Found:
    """One text for each row (K = 1); of equally likely tokens the one with the smaller number.

    Args:
        step: scores of the next token; see `Step`.
        state: before the first token, B rows.
        start: (B,) the token that stands before the text.
        end: the token that ends a text.
        max_length: the most tokens, the end included; one number, or one for each row.
        repetition_penalty, no_repeat: 1 and None for no such control; see `hold_back`.

    Raises:
        UsageError: a setting out of its range, or a step function that gives no log-probabilities.
    """
    check_repetition(repetition_penalty, no_repeat)

    def likeliest(scores: Tensor, rows: Tensor, past: Tensor) -> Tensor:
        wanted = hold_back(scores, past, repetition_penalty=repetition_penalty, no_repeat=no_repeat)
        return wanted.argmax(dim=1)

    return follow(step, state, start, likeliest, end=end, max_length=max_length)
