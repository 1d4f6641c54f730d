"""Texts drawn at random, as likely as the model finds them or nearer to its favourites."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqloom.errors import UsageError
from seqloom.search.follow import follow
from seqloom.search.repetition import check_repetition, hold_back
from seqloom.search.step import Found, Step, limits


def sample(
    step: Step,
    state: Any,
    start: Tensor,
    *,
    end: int,
    max_length: int | Tensor,
    seeds: Sequence[int],
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    repetition_penalty: float = 1.0,
    no_repeat: int | None = None,
) -> Found:
    """One text drawn for each row (K = 1). A row's text depends on its own seed, not on its neighbours.

    Tokens are kept from (in this order) repetition control, temperature, top-k, top-p, and drawn from what is left.
    The scores are those of the model itself, before all of this. For several texts of one row, repeat the row
    (`state.select`) and give each its seed.

    Args:
        step: scores of the next token; see `Step`.
        state: before the first token, B rows.
        start: (B,) the token that stands before the text.
        end: the token that ends a text.
        max_length: the most tokens, the end included; one number, or one for each row.
        seeds: one for each row.
        temperature: log-probabilities are divided by it; above 0, and 1 leaves them.
        top_k: only so many of the likeliest tokens (Fan et al., 2018), 1 is greedy search; all where omitted.
        top_p: only the likeliest tokens that together reach this share (Holtzman et al., 2020), 0 < top_p <= 1.
        repetition_penalty, no_repeat: 1 and None for no such control; see `hold_back`.

    Raises:
        UsageError: a setting out of its range, or not one seed for each row.
    """
    _check(temperature, top_k, top_p)
    check_repetition(repetition_penalty, no_repeat)
    if len(seeds) != len(start):
        raise UsageError(f"got {len(seeds)} seeds for {len(start)} rows; expected one for each row")
    most = limits(start, max_length)
    longest = int(most.max()) if len(most) else 0
    draws = [torch.from_numpy(np.random.default_rng(seed).random(longest)) for seed in seeds]
    uniform = torch.stack(draws) if draws else torch.zeros(0, 0)

    def choose(scores: Tensor, rows: Tensor, past: Tensor) -> Tensor:
        wanted = hold_back(scores.double(), past, repetition_penalty=repetition_penalty, no_repeat=no_repeat)
        return _draw(wanted / temperature, uniform[rows, past.shape[1]], top_k, top_p)

    return follow(step, state, start, choose, end=end, max_length=most)


def _check(temperature: float, top_k: int | None, top_p: float) -> None:
    if not 0 < temperature < float("inf"):
        raise UsageError(f"temperature is {temperature}; expected a number above 0 (for the likeliest token, top_k=1)")
    if top_k is not None and top_k < 1:
        raise UsageError(f"top_k is {top_k}; expected 1 or more, or None for all tokens")
    if not 0 < top_p <= 1:
        raise UsageError(f"top_p is {top_p}; expected a share above 0 and at most 1")


def _draw(scores: Tensor, uniform: Tensor, top_k: int | None, top_p: float) -> Tensor:
    """(N,) tokens drawn from unnormalised log-probabilities (N, V) by the inverse of their distribution."""
    ordered, tokens = scores.sort(dim=1, descending=True, stable=True)
    shares = torch.softmax(ordered[:, :top_k], dim=1)
    before = shares.cumsum(dim=1) - shares
    shares = torch.where(before < top_p, shares, shares.new_zeros(()))
    reached = shares.cumsum(dim=1)
    place = torch.searchsorted(reached, (uniform * reached[:, -1]).unsqueeze(1), right=True)
    # A draw at the very end of the scale, by rounding, belongs to the last token that has a share at all.
    last = (shares > 0).sum(dim=1, keepdim=True) - 1
    return tokens.gather(1, torch.minimum(place, last)).squeeze(1)
