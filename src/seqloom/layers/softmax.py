"""Cross-entropy over a large set of items, without a table of all scores.

A batch of n questions with V items has n * V scores, and automatic differentiation would keep several such tables.
Here questions are taken some at a time: their scores are made, turned into the gradient at once, and dropped.
The result is that of `torch.nn.functional.cross_entropy`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

BYTES_AT_ONCE = 32_000_000  # of scores; bounds memory
LEAST = 1e-30  # probabilities below are near the end of what float32 and bfloat16 can hold


def softmax_loss(query: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    """Mean of -ln softmax(weight @ query + bias)[target].

    Within `torch.autocast` the scores, their softmax and the three products are in its type, which is half the memory
    to go through; what is summed over chunks is not.

    Args:
        query: (n, E), n at least 1.
        weight: (V, E).
        bias: (V,).
        target: (n,) int64 in 0..V-1.
    """
    if not torch.is_grad_enabled():
        parts = [slice(k, k + questions_at_once(len(bias))) for k in range(0, len(query), questions_at_once(len(bias)))]
        losses = [cross_entropy(query[p] @ weight.t() + bias, target[p], reduction="sum") for p in parts]
        return torch.stack(losses).sum() / len(query)
    loss: Tensor = _SoftmaxLoss.apply(query, weight, bias, target)  # type: ignore[no-untyped-call]
    return loss


def questions_at_once(items: int, dtype: torch.dtype = torch.float32) -> int:
    """How many questions over so many items are answered together, their scores being of a type."""
    return max(1, BYTES_AT_ONCE // (items * dtype.itemsize))


class _SoftmaxLoss(torch.autograd.Function):
    """The gradient of each chunk's scores, p - [target], is at hand as soon as its loss is."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
        low = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype
        # A softmax stays the same where all scores are less by the same; the nearer to zero, the less is rounded away.
        q, w, b = query.to(low), weight.to(low), (bias - bias.mean()).to(low)
        d_query, d_weight, d_bias = torch.empty_like(query), torch.zeros_like(weight), torch.zeros_like(bias)
        total, chunk = query.new_zeros(()), min(questions_at_once(len(weight), low), len(query))
        # Written again by every chunk: asking the system for so much memory takes as long as filling it.
        all_scores, all_p, d_chunk = q.new_empty(chunk, len(w)), q.new_empty(chunk, len(w)), torch.empty_like(w)
        with torch.autocast("cpu", enabled=False):
            for start in range(0, len(query), chunk):
                rows = slice(start, start + chunk)
                c = len(q[rows])
                scores = torch.addmm(b, q[rows], w.t(), out=all_scores[:c])
                p = torch.softmax(scores, 1, out=all_p[:c])
                total += _surprise(scores, p, target[rows]).sum()
                d_scores = _less_one(p, target[rows])
                d_query[rows] = d_scores @ w
                d_weight += torch.mm(d_scores.t(), q[rows], out=d_chunk)
                d_bias += d_scores.sum(0)
        ctx.save_for_backward(d_query, d_weight, d_bias)
        ctx.count = len(query)
        return total / len(query)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        share = grads[0] / ctx.count
        return (*(gradient * share for gradient in ctx.saved_tensors), None)


def _surprise(scores: Tensor, p: Tensor, target: Tensor) -> Tensor:
    """(c,) -ln p[target] of each row of scores (c, V) and their softmax p (c, V), in float32 at least."""
    own = p.gather(1, target.unsqueeze(1)).squeeze(1)
    loss = -own.to(torch.promote_types(own.dtype, torch.float32)).log()
    # So small a probability has lost digits, or all of them; the scores still tell how far apart they are.
    lost = own < LEAST
    if lost.any():
        far = scores[lost].to(loss.dtype)
        loss[lost] = far.logsumexp(1) - far.gather(1, target[lost].unsqueeze(1)).squeeze(1)
    return loss


def _less_one(p: Tensor, target: Tensor) -> Tensor:
    """The gradient of -ln p[target] with respect to the scores: p (c, V) itself, less one at the targets."""
    # By number, not by scatter_, which copies all of p to change one place in each row.
    p[torch.arange(len(p), device=p.device), target] -= 1
    return p
