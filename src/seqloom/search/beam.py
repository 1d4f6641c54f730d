"""Beam search: several texts side by side, of which the least likely are dropped at each step."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqloom.errors import UsageError
from seqloom.search.repetition import check_repetition, hold_back
from seqloom.search.step import Found, Step, call, limits
from seqloom.state import select


class Beam(NamedTuple):
    """K places for texts of each of R rows: a place holds a text that goes on, or none.

    Attributes:
        tokens: (R, K, u).
        scores: (R, K) log-probabilities so far, by the model itself.
        wanted: (R, K) what texts compete by: `scores` after control of repetition; -inf for a place without a text.
        attention: (R, K, u, S), or None.
    """

    tokens: Tensor
    scores: Tensor
    wanted: Tensor
    attention: Tensor | None


@torch.no_grad()
def beam(
    step: Step,
    state: Any,
    start: Tensor,
    *,
    end: int,
    max_length: int | Tensor,
    beam_size: int,
    n_best: int = 1,
    length_penalty: float = 0.0,
    coverage: float = 0.0,
    repetition_penalty: float = 1.0,
    no_repeat: int | None = None,
) -> Found:
    """The `n_best` texts of each row by

        rank = score / ((5 + length) / 6) ** length_penalty + coverage * sum_s log(min(sum_u a_us, 1))

    (Wu et al., Google's neural machine translation system, 2016, equation 14; `a` is the attention). A text that
    ends keeps its place, so that the texts going on become fewer (Sutskever et al., 2014), and a beam of one is
    greedy search. While they go on, texts compete by their score. Where repetition is controlled, score means here
    what that leaves of it; the scores that are returned are the model's own.

    A row is finished when nothing that goes on can still reach its `n_best` texts: scores only fall, coverage only
    takes away, and the penalty helps most at the greatest length. So stopping early never changes what is found.

    Args:
        step: scores of the next token; see `Step`.
        state: before the first token, B rows.
        start: (B,) the token that stands before the text.
        end: the token that ends a text.
        max_length: the most tokens, the end included; one number, or one for each row.
        beam_size: texts kept for each row, K.
        n_best: texts returned for each row, at most K.
        length_penalty: 0 ranks by score alone; larger values favour longer texts.
        coverage: how much source steps that the text hardly looked at count against it; steps without any
            attention at all are padding.
        repetition_penalty, no_repeat: 1 and None for no such control; see `hold_back`.

    Raises:
        UsageError: a setting out of its range, or coverage of a model without attention.
    """
    _check(beam_size, n_best, length_penalty, coverage)
    check_repetition(repetition_penalty, no_repeat)
    most = limits(start, max_length)
    B, U = len(start), int(most.max()) if len(most) else 0
    best = _nothing(B, n_best, U, end)
    going, rows, last = _begin(B), torch.arange(B), start
    room = torch.full((B,), beam_size)  # places not taken by texts that have ended
    for u in range(U):
        if not len(rows):
            break
        found = call(step, last, state, end)
        if coverage and found.attention is None:
            raise UsageError(f"coverage is {coverage}, but the model gives no attention; expected 0: leave it out")
        past = going.tokens.flatten(0, 1)
        wanted = hold_back(found.scores, past, repetition_penalty=repetition_penalty, no_repeat=no_repeat)
        wanted = _only_end(wanted.reshape(*going.scores.shape, -1), (most[rows] == u + 1).unsqueeze(1), end)
        going, parents = _extend(going, found.scores, wanted, found.attention, room)
        ended = (going.tokens[..., -1] == end) & going.wanted.isfinite()
        best = _note(best, rows, going, ended, _ranks(going, length_penalty, coverage), end)
        going = going._replace(wanted=going.wanted.masked_fill(ended, -torch.inf))
        hope = going.wanted.amax(dim=1) / _length(most[rows], length_penalty)
        open_rows = (hope > best.ranks[rows, -1]).nonzero().squeeze(1)
        rows, room = rows[open_rows], (room - ended.sum(dim=1))[open_rows]
        going = select(going, open_rows)
        state, last = select(found.state, parents[open_rows].flatten()), going.tokens[..., -1].flatten()
    longest = int(best.lengths.max()) if B else 0
    attention = None if best.attention is None else best.attention[:, :, :longest]
    return best._replace(tokens=best.tokens[:, :, :longest], attention=attention)


def _check(beam_size: int, n_best: int, length_penalty: float, coverage: float) -> None:
    if beam_size < 1:
        raise UsageError(f"beam_size is {beam_size}; expected 1 or more (1 is greedy search)")
    if not 1 <= n_best <= beam_size:
        raise UsageError(f"n_best is {n_best}; expected 1..{beam_size}, at most beam_size: make the beam wider")
    for name, value in {"length_penalty": length_penalty, "coverage": coverage}.items():
        if not 0 <= value < float("inf"):
            raise UsageError(f"{name} is {value}; expected 0 or more, and 0 for none")


def _nothing(B: int, K: int, U: int, end: int) -> Found:
    none = torch.full((B, K), -torch.inf, dtype=torch.float64)
    tokens = torch.full((B, K, U), end, dtype=torch.int64)
    return Found(tokens, torch.zeros(B, K, dtype=torch.int64), none, none.clone(), None)


def _begin(B: int) -> Beam:
    """One empty text for each row."""
    nothing = torch.zeros(B, 1, dtype=torch.float64)
    return Beam(torch.zeros(B, 1, 0, dtype=torch.int64), nothing, nothing, None)


def _extend(going: Beam, scores: Tensor, wanted: Tensor, attention: Tensor | None, room: Tensor) -> tuple[Beam, Tensor]:
    """The most wanted texts one token longer, at most `room` (R,) of each row; and the hypothesis each came from.

    Takes the model's scores (R * K, V), what is left of them (R, K, V) and attention (R * K, S) of the new token.
    Gives a beam of the most room that any row has, and (R, K) numbers of hypotheses in 0..R*K.
    """
    R, K, V = wanted.shape
    # No text can have more than `widest` of its continuations among the best `widest` of its row.
    widest = int(room.max())
    near, token = wanted.topk(min(widest, V), dim=-1)
    total, index = (going.wanted.unsqueeze(-1) + near).flatten(1).topk(min(widest, K * near.shape[-1]), dim=1)
    total = total.masked_fill(torch.arange(total.shape[1]) >= room.unsqueeze(1), -torch.inf)
    parents = index // near.shape[-1] + K * torch.arange(R).unsqueeze(1)
    new = token.flatten(1).gather(1, index)
    tokens = torch.cat([going.tokens.flatten(0, 1)[parents], new.unsqueeze(-1)], dim=-1)
    own = going.scores.flatten()[parents] + scores[parents, new]
    weights = None
    if attention is not None:
        weights = attention[parents].unsqueeze(2)
        if going.attention is not None:
            weights = torch.cat([going.attention.flatten(0, 1)[parents], weights], dim=2)
    return Beam(tokens, own, total, weights), parents


def _only_end(scores: Tensor, last: Tensor, end: int) -> Tensor:
    """The scores (R, K, V) with nothing but the end token left where `last` (R, 1) is True: no room for more."""
    if not bool(last.any()):
        return scores
    allowed = torch.full_like(scores, -torch.inf)
    allowed[..., end] = scores[..., end]
    return torch.where(last.unsqueeze(-1), allowed, scores)


def _length(tokens: int | Tensor, length_penalty: float) -> Tensor:
    return torch.as_tensor((5 + tokens) / 6).double() ** length_penalty


def _ranks(going: Beam, length_penalty: float, coverage: float) -> Tensor:
    """(R, K) the scores after penalties."""
    ranks = going.wanted / _length(going.tokens.shape[2], length_penalty)
    if not coverage or going.attention is None:
        return ranks
    looked_at = going.attention.double().sum(dim=2)
    return ranks + coverage * looked_at.clamp(max=1).log().where(looked_at > 0, looked_at.new_zeros(())).sum(dim=-1)


def _note(best: Found, rows: Tensor, going: Beam, ended: Tensor, ranks: Tensor, end: int) -> Found:
    """The best texts so far, those that have just ended included; of equal rank the earlier one."""
    n, U, u = *best.tokens.shape[1:], going.tokens.shape[2]
    ranks = torch.cat([best.ranks[rows], ranks.masked_fill(~ended, -torch.inf)], dim=1)
    order = ranks.sort(dim=1, descending=True, stable=True).indices[:, :n]
    each = torch.arange(len(rows)).unsqueeze(1)

    def chosen(old: Tensor, new: Tensor) -> Tensor:
        return old.index_copy(0, rows, torch.cat([old[rows], new], dim=1)[each, order])

    attention = best.attention
    if going.attention is not None:
        if attention is None:
            attention = going.attention.new_zeros(len(best.tokens), n, U, going.attention.shape[-1])
        attention = chosen(attention, torch.nn.functional.pad(going.attention, (0, 0, 0, U - u)))
    scores = going.scores.masked_fill(~ended, -torch.inf)
    return Found(
        chosen(best.tokens, torch.nn.functional.pad(going.tokens, (0, U - u), value=end)),
        chosen(best.lengths, torch.where(ended, u, 0)),
        chosen(best.scores, scores),
        best.ranks.index_copy(0, rows, ranks[each, order]),
        attention,
    )
