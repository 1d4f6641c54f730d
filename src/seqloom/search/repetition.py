"""Control of repetition: scores of tokens that would say the same again are lowered, or ruled out."""

from __future__ import annotations

import torch
from torch import Tensor

from seqloom.errors import UsageError


def check_repetition(repetition_penalty: float, no_repeat: int | None) -> None:
    """Refuse settings out of their ranges.

    Raises:
        UsageError: a penalty below 1, or runs of no token at all.
    """
    if not 1 <= repetition_penalty < float("inf"):
        raise UsageError(f"repetition_penalty is {repetition_penalty}; expected 1 or more, and 1 for none")
    if no_repeat is not None and no_repeat < 1:
        raise UsageError(f"no_repeat is {no_repeat}; expected a run of 1 token or more, or None for no such rule")


def hold_back(scores: Tensor, past: Tensor, *, repetition_penalty: float, no_repeat: int | None) -> Tensor:
    """What is left of scores (N, V), log-probabilities, after texts `past` (N, u); each row by itself.

    Args:
        scores: of the next token.
        past: tokens so far.
        repetition_penalty: at least 1; log-probabilities of tokens that the text holds already are multiplied by
            it (after Keskar et al., 2019).
        no_repeat: no run of so many tokens occurs twice in a text (Paulus et al., 2018), unless that forbids
            every token.
    """
    wanted = _penalised(scores, past, repetition_penalty)
    return _without_repeats(wanted, past, no_repeat) if no_repeat else wanted


def _penalised(scores: Tensor, past: Tensor, penalty: float) -> Tensor:
    if penalty == 1 or not past.shape[1]:
        return scores
    return scores.scatter(1, past, scores.gather(1, past) * penalty)


def _without_repeats(scores: Tensor, past: Tensor, run: int) -> Tensor:
    """-inf for every token that would make a run of tokens occur a second time; a row without any way out is left."""
    if past.shape[1] < run:
        return scores
    windows = past.unfold(1, run, 1)  # (N, count, run)
    begun = past[:, past.shape[1] - run + 1 :].unsqueeze(1)
    seen_before = (windows[..., : run - 1] == begun).all(dim=-1)
    forbidden = torch.zeros_like(scores).scatter_add(1, windows[..., -1], seen_before.to(scores.dtype)) > 0
    kept = scores.masked_fill(forbidden, -torch.inf)
    return torch.where(kept.isinf().all(dim=1, keepdim=True), scores, kept)
