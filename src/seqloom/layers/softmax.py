"""Cross-entropy over a large set of items or tokens, without a table of all scores.

A batch of n questions with V items has n * V scores, and automatic differentiation would keep several such tables.
Here questions are taken some at a time: their scores are made, turned into the gradient at once, and dropped.
The result is that of `torch.nn.functional.cross_entropy`. With scores s = W q + b, target y and smoothing e,

    p = softmax(s)
    loss = -(1 - e) ln p[y] - e mean(ln p) = -ln p[y] + e (s[y] - mean(s))
    d loss / d s = p - (1 - e) [y] - e / V

and since the mean of the scores is (mean of W) q + mean of b, what smoothing adds needs no pass over the scores.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import cross_entropy, pad

from seqloom.layers.linear import filled_up

BYTES_AT_ONCE = 32_000_000  # of scores; bounds memory
BYTES_NEARBY = 2_000_000  # of scores that are read and written several times; they stay in the caches of two cores
LEAST = 1e-30  # probabilities below are near the end of what float32 can hold


def softmax_loss(
    query: Tensor, weight: Tensor, bias: Tensor, target: Tensor, *, label_smoothing: float = 0.0
) -> Tensor:
    """Mean of -ln softmax(weight @ query + bias)[target], or of its smoothed form.

    Within `torch.autocast` the scores, their gradient and the three products are in its type, which is half the memory
    to go through; the softmax and what is summed over chunks are not.

    Args:
        query: (n, E), n at least 1.
        weight: (V, E).
        bias: (V,).
        target: (n,) int64 in 0..V-1.
        label_smoothing: share of each target that is spread over all items.
    """
    if not torch.is_grad_enabled():
        parts = [slice(k, k + questions_at_once(len(bias))) for k in range(0, len(query), questions_at_once(len(bias)))]
        how: Any = {"reduction": "sum", "label_smoothing": label_smoothing}
        losses = [cross_entropy(query[p] @ weight.t() + bias, target[p], **how) for p in parts]
        return torch.stack(losses).sum() / len(query)
    loss: Tensor = _SoftmaxLoss.apply(query, weight, bias, target, label_smoothing)  # type: ignore[no-untyped-call]
    return loss


def questions_at_once(items: int, dtype: torch.dtype = torch.float32) -> int:
    """How many questions over so many items are answered together, their scores being of a type."""
    return max(1, BYTES_AT_ONCE // (items * dtype.itemsize))


class _SoftmaxLoss(torch.autograd.Function):
    """The gradient of each chunk's scores is at hand as soon as its loss is, and takes their place."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, weight: Tensor, bias: Tensor, target: Tensor, smoothing: float) -> Tensor:
        low = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype
        w, n = weight.to(low), len(query)
        d_weight, d_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        # Chunks of few shapes, see `seqloom.layers.linear`; they fill one table, since asking the system for so much
        # memory takes as long as filling it.
        chunk = min(questions_at_once(len(w), low), filled_up(n))
        q = pad(query.to(low), (0, 0, 0, -n % chunk))
        table, d_query, total = q.new_empty(chunk, len(w)), query.new_empty(q.shape), query.new_zeros(())
        with torch.autocast("cpu", enabled=False):
            for start in range(0, n, chunk):
                rows = slice(start, start + chunk)
                scores = torch.mm(q[rows], w.t(), out=table)
                total += _to_gradient(scores, bias, target[rows], smoothing, d_bias)
                d_query[rows] = scores @ w
                d_weight += scores.t() @ q[rows]
        d_query = d_query[:n]
        if smoothing:
            mean, asked = weight.mean(0), query.sum(0)
            total -= smoothing * (asked @ mean + n * bias.mean())
            d_query -= smoothing * mean
            d_weight -= smoothing / len(weight) * asked
            d_bias -= smoothing / len(weight) * n
        ctx.save_for_backward(d_query, d_weight, d_bias)
        ctx.count = len(query)
        return total / len(query)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:
        share = d_loss / ctx.count
        return (*(gradient * share for gradient in ctx.saved_tensors), None, None)


def _to_gradient(scores: Tensor, bias: Tensor, target: Tensor, smoothing: float, d_bias: Tensor) -> Tensor:
    """Turn W q (m, V) into p - (1 - e) [y], where it stands, and add that to `d_bias`; rows without y into zeros.

    Args:
        scores: W q of each question.
        bias: (V,).
        target: (c,) y of the first questions.
        smoothing: e.
        d_bias: (V,).

    Returns:
        The sum over the rows of -ln p[y] + e s[y].
    """
    scores[len(target) :] = 0
    # torch's softmax of bfloat16 takes several times as long as a cast and the softmax of float32.
    high = torch.promote_types(scores.dtype, torch.float32)
    nearby = min(max(1, BYTES_NEARBY // (scores.shape[1] * high.itemsize)), len(target))
    total, room = scores.new_zeros((), dtype=high), scores.new_empty(2, nearby, scores.shape[1], dtype=high)
    for start in range(0, len(target), nearby):
        y = target[start : start + nearby]
        own, part = (torch.arange(len(y), device=y.device), y), scores[start : start + len(y)]
        s, p = room[:, : len(y)]
        torch.softmax(s.copy_(part).add_(bias), dim=1, out=p)
        total += (_surprise(s, p, own) + smoothing * s[own]).sum()
        p[own] -= 1 - smoothing
        d_bias += p.sum(0)
        part.copy_(p)
    return total


def _surprise(s: Tensor, p: Tensor, own: tuple[Tensor, Tensor]) -> Tensor:
    """(c,) -ln p[y] of scores (c, V), their softmax p (c, V), and where each row's y stands in them."""
    # So small a probability has lost digits, or all of them; the scores still tell how far apart they are.
    chance = p[own]
    loss, lost = -chance.log(), chance < LEAST
    return torch.where(lost, s.logsumexp(1) - s[own], loss) if lost.any() else loss
