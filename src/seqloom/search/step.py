"""What a search asks of a model, one step at a time, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqloom.errors import UsageError

ROUNDING = 1e-3  # a log-probability may exceed 0 by so much


class Next(NamedTuple):
    """What may come next.

    Attributes:
        scores: (N, V) natural log-probabilities of the next token.
        state: after the tokens that were given, N rows.
        attention: (N, S) weights over the source in this step, rows summing to 1, where the model has them.
    """

    scores: Tensor
    state: Any
    attention: Tensor | None = None


# The last token of N hypotheses (N,) and the state before it, any nesting of tensors with N rows (see `state.py`).
Step = Callable[[Tensor, Any], Next]


class Found(NamedTuple):
    """What a search found: K texts for each of B rows, the best first.

    Attributes:
        tokens: (B, K, U) int64, the end token included; behind it stands the end token again.
        lengths: (B, K) int64, tokens up to and with the end token; 0 where there is no such text.
        scores: (B, K) log-probability of the text, its end included, as the model itself gives it; -inf where there
            is no such text.
        ranks: (B, K) what the texts are ordered by: the score after penalties.
        attention: (B, K, U, S) weights over the source at each token, zero behind the end; None where the model
            has none.
    """

    tokens: Tensor
    lengths: Tensor
    scores: Tensor
    ranks: Tensor
    attention: Tensor | None


def limits(start: Tensor, max_length: int | Tensor) -> Tensor:
    """(B,) the most tokens of each row, the end token included.

    Raises:
        UsageError: some row may hold no token at all, or there is not one limit for each row.
    """
    found = torch.as_tensor(max_length, dtype=torch.int64).expand(len(start)) if _one(max_length) else max_length
    assert isinstance(found, Tensor)
    if found.shape != start.shape:
        raise UsageError(
            f"max_length has shape {tuple(found.shape)}; expected one number, or one for each of {len(start)} rows"
        )
    if len(found) and int(found.min()) < 1:
        raise UsageError(f"max_length is {int(found.min())}; expected 1 or more, since the end token counts")
    return found


def _one(max_length: int | Tensor) -> bool:
    return not isinstance(max_length, Tensor) or max_length.dim() == 0


def call(step: Step, tokens: Tensor, state: Any, end: int) -> Next:
    """One call of the step function, its answer checked.

    Raises:
        UsageError: the answer is not (N, V), has no such token as `end`, or holds no log-probabilities.
    """
    found = step(tokens, state)
    scores = found.scores
    if scores.dim() != 2 or len(scores) != len(tokens):
        raise UsageError(
            f"the step function gave scores {tuple(scores.shape)} for {len(tokens)} tokens; expected "
            f"({len(tokens)}, V): one row of log-probabilities for each token"
        )
    if not 0 <= end < scores.shape[1]:
        raise UsageError(f"the end token is {end}; expected one of 0..{scores.shape[1] - 1}, the tokens with a score")
    highest = float(scores.max()) if len(scores) else 0.0
    if not highest <= ROUNDING:
        raise UsageError(
            f"the step function gave {highest} as its largest score; expected log-probabilities, at most 0: "
            "take log_softmax of the logits, and check the weights where it is NaN"
        )
    return found
