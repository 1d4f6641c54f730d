"""The scores of additive attention, without a table of all that goes into them.

Every query u is compared with every key s of its row on A features:

    t[u, s] = tanh(q[u] + k[s])
    score[u, s] = v . t[u, s]

which is B * U * S * A numbers for B * U * S scores. Here a few rows at a time are made, used, and dropped, while they
are in the processor's cache, and made again on the way back. With d = d loss / d score and * by element,

    d v = sum_us d[u, s] t[u, s]
    d q[u] = v * sum_s d[u, s] (1 - t[u, s]^2)
    d k[s] = v * sum_u d[u, s] (1 - t[u, s]^2)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BYTES_NEARBY = 2_000_000  # of t; they stay in the caches of two cores


def additive_scores(query: Tensor, key: Tensor, v: Tensor) -> Tensor:
    """(B, U, S) scores, in float32 at least.

    Args:
        query: (B, U, A).
        key: (B, S, A).
        v: (A,).
    """
    # Short numbers save nothing here, since nothing is written to memory, and their tanh takes longer.
    high = torch.promote_types(v.dtype, torch.float32)
    scores: Tensor = _AdditiveScores.apply(query.to(high), key.to(high), v.to(high))  # type: ignore[no-untyped-call]
    return scores


class _AdditiveScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, v)
        scores = q.new_empty(*q.shape[:2], k.shape[1])
        for rows, t in _some_rows(q, k):
            torch.matmul(t, v, out=scores[rows])
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_scores: Tensor) -> tuple[Tensor, ...]:
        q, k, v = ctx.saved_tensors
        d_q, d_k, d_v = torch.empty_like(q), torch.empty_like(k), torch.zeros_like(v)
        for rows, t in _some_rows(q, k):
            d = d_scores[rows].unsqueeze(3)
            d_v += d.flatten() @ t.flatten(0, 2)
            less = t.square_().mul_(d)
            torch.sub(d.sum(2), less.sum(2), out=d_q[rows])
            torch.sub(d.sum(1), less.sum(1), out=d_k[rows])
        return d_q.mul_(v), d_k.mul_(v), d_v


def _some_rows(q: Tensor, k: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Some rows at a time, and their t (rows, U, S, A), in memory that is written again by the next ones."""
    (B, U, A), S = q.shape, k.shape[1]
    count = max(1, BYTES_NEARBY // max(1, U * S * A * q.itemsize))
    room = q.new_empty(min(count, B), U, S, A)
    for start in range(0, B, count):
        rows = slice(start, min(start + count, B))
        t = room[: rows.stop - start]
        torch.add(q[rows].unsqueeze(2), k[rows].unsqueeze(1), out=t)
        yield rows, t.tanh_()
