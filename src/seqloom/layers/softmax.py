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

SCORES_AT_ONCE = 8_000_000  # bounds memory: 32 MB of float32


def softmax_loss(query: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    """Mean of -ln softmax(weight @ query + bias)[target].

    Within `torch.autocast` the three products run in its type; the softmax and all sums stay as they are.

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


def questions_at_once(items: int) -> int:
    """How many questions over so many items are answered together."""
    return max(1, SCORES_AT_ONCE // items)


class _SoftmaxLoss(torch.autograd.Function):
    """The gradient of each chunk's scores, p - [target], is at hand as soon as its loss is."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
        low = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype
        q, w = query.to(low), weight.to(low)
        d_query, d_weight, d_bias = torch.empty_like(query), torch.zeros_like(weight), torch.zeros_like(bias)
        total = query.new_zeros(())
        chunk = questions_at_once(len(weight))
        with torch.autocast("cpu", enabled=False):
            for start in range(0, len(query), chunk):
                rows = slice(start, start + chunk)
                scores = (q[rows] @ w.t()).to(query.dtype).add_(bias)
                loss, d_scores = _loss_and_gradient(scores, target[rows].unsqueeze(1))
                total += loss
                d_bias += d_scores.sum(0)
                d_low = d_scores.to(low)
                d_query[rows] = d_low @ w
                d_weight += d_low.t() @ q[rows]
        ctx.save_for_backward(d_query, d_weight, d_bias)
        ctx.count = len(query)
        return total / len(query)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        share = grads[0] / ctx.count
        return (*(gradient * share for gradient in ctx.saved_tensors), None)


def _loss_and_gradient(scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Sum over rows of -ln softmax(scores)[target], and its gradient with respect to the scores (c, V)."""
    largest, place = scores.max(dim=1, keepdim=True)
    told = scores.gather(1, target)
    p = torch.softmax(scores, dim=1)
    # At the largest score p is 1 / sum(exp(score - largest)), so one logarithm per row is enough.
    loss = (largest - p.gather(1, place).log() - told).sum()
    return loss, p.scatter_add_(1, target, p.new_full((1, 1), -1.0).expand_as(target))
