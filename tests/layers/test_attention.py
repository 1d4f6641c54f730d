"""Attention against its equations written out step by step, and against torch's own where it has one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from seqloom.errors import UsageError
from seqloom.layers.attention import Additive, Attention, MultiHead, Multiplicative, masked_softmax
from seqloom.sequences import Sequences
from seqloom.state import select

Q, M = 6, 4
KINDS = {
    "additive": lambda: Additive(Q, M, 5),
    "multiplicative": lambda: Multiplicative(Q, M),
    "multi-head": lambda: MultiHead(Q, M, 3),
}
every = pytest.mark.parametrize("kind", KINDS)


def made(kind: str) -> Attention:
    torch.manual_seed(1)
    layer = KINDS[kind]().double()
    for weight in layer.parameters():
        nn.init.normal_(weight)
    return layer


def example() -> tuple[Tensor, Sequences]:
    torch.manual_seed(2)
    query = torch.randn(4, 3, Q, dtype=torch.float64)
    return query, Sequences(torch.randn(4, 5, M, dtype=torch.float64), torch.tensor([3, 0, 5, 1]))


@torch.no_grad()
def score(layer: Attention, q: Tensor, k: Tensor) -> float:
    """One query against one step, as the papers write it."""
    if isinstance(layer, Additive):
        mixed = layer.query.weight @ q + layer.key.weight @ k + layer.key.bias
        return float(layer.score.weight[0] @ torch.tanh(mixed))
    assert isinstance(layer, Multiplicative)
    return float(q @ layer.key.weight @ k)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["additive", "multiplicative"])
def test_weights_and_context_follow_the_equation(kind: str) -> None:
    layer, (query, memory) = made(kind), example()
    found = layer(query, layer.remember(memory))
    for row, length in enumerate(memory.lengths.tolist()):
        for u in range(3):
            scores = [math.exp(score(layer, query[row, u], memory.values[row, s])) for s in range(length)]
            weights = torch.tensor([one / sum(scores) for one in scores], dtype=torch.float64)
            torch.testing.assert_close(found.weights[row, u, :length], weights)
            torch.testing.assert_close(found.context[row, u], weights @ memory.values[row, :length])


def test_heads_are_those_of_torch() -> None:
    layer, (query, memory) = made("multi-head"), example()
    assert isinstance(layer, MultiHead)
    same = nn.MultiheadAttention(Q, 3, kdim=M, vdim=M, batch_first=True, dtype=torch.float64)
    same.q_proj_weight, same.k_proj_weight, same.v_proj_weight = (
        layer.query.weight,
        layer.key.weight,
        layer.value.weight,
    )
    same.in_proj_bias = nn.Parameter(torch.cat([layer.query.bias, layer.key.bias, torch.zeros(Q).double()]))
    same.out_proj.weight = layer.output.weight
    rows = memory.lengths > 0  # torch gives NaN for a row without anything to look at
    truth, weights = same(
        query[rows], memory.values[rows], memory.values[rows], key_padding_mask=memory.padding_mask[rows]
    )
    found = layer(query, layer.remember(memory))
    torch.testing.assert_close(found.context[rows], truth)
    torch.testing.assert_close(found.weights[rows], weights)


@every
def test_weights_are_shares_of_what_is_there(kind: str) -> None:
    layer, (query, memory) = made(kind), example()
    found = layer(query, layer.remember(memory))
    assert not found.weights[memory.padding_mask.unsqueeze(1).expand_as(found.weights)].any()
    torch.testing.assert_close(found.weights.sum(dim=-1), (memory.lengths > 0).double().unsqueeze(1).expand(4, 3))
    assert not found.context[1].any(), "a row without any step gives zeros"


@every
def test_a_memory_is_forked_like_a_state(kind: str) -> None:
    layer, (query, memory) = made(kind), example()
    rows = torch.tensor([2, 2, 0])
    forked = layer(query[rows], select(layer.remember(memory), rows))
    whole = layer(query, layer.remember(memory))
    for one, other in zip(forked, whole, strict=True):
        torch.testing.assert_close(one, other[rows])


@every
def test_all_queries_at_once_are_one_by_one(kind: str) -> None:
    layer, (query, memory) = made(kind), example()
    prepared = layer.remember(memory)
    together = layer(query, prepared)
    for u in range(3):
        alone = layer(query[:, u : u + 1], prepared)
        torch.testing.assert_close(alone.context[:, 0], together.context[:, u])


@every
def test_gradients_are_right(kind: str) -> None:
    layer, (query, memory) = made(kind), example()

    def run(query: Tensor, values: Tensor) -> tuple[Tensor, ...]:
        return tuple(layer(query, layer.remember(memory.with_values(values))))

    assert torch.autograd.gradcheck(run, (query.requires_grad_(), memory.values.requires_grad_()))


@pytest.mark.parametrize("shift", [0.0, 1e4, -1e4])
def test_large_scores_do_not_overflow(shift: float) -> None:
    scores = torch.tensor([[[0.0, 1.0, 2.0]]]) + shift
    weights = masked_softmax(scores, torch.tensor([[False, False, True]]))
    torch.testing.assert_close(weights[0, 0], torch.tensor([0.2689, 0.7311, 0.0]), atol=1e-3, rtol=0)


def test_heads_must_divide_the_features() -> None:
    with pytest.raises(UsageError, match="attention of 4 heads over 6 features; expected a number of heads that div"):
        MultiHead(6, 4, 4)
