"""Poolings against the plain formula for one row at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seqloom.layers.pooling import Last, Max, Mean, Pooling, pooling
from seqloom.sequences import Sequences

laws = settings(max_examples=25, deadline=None, derandomize=True)


def last_both_ways(row: Tensor) -> Tensor:
    """Forward features at the end, backward features at the beginning."""
    return torch.cat([row[-1, :2], row[0, 2:]])


POOLINGS: list[tuple[Pooling, Callable[[Tensor], Tensor]]] = [
    (Last(bidirectional=False), lambda row: row[-1]),
    (Last(bidirectional=True), last_both_ways),
    (Mean(), lambda row: row.mean(dim=0)),
    (Max(), lambda row: row.max(dim=0).values),
]
every_pooling = pytest.mark.parametrize(("pool", "formula"), POOLINGS, ids=["last", "last both ways", "mean", "max"])


def ragged(lengths: list[int], extra: int, padding: float) -> Sequences:
    """(B, T, 4) float64, negative as well as positive."""
    random = torch.Generator().manual_seed(sum(lengths) + len(lengths))
    T = max(lengths, default=0) + extra
    values = torch.full((len(lengths), T, 4), padding, dtype=torch.float64)
    for row, length in enumerate(lengths):
        values[row, :length] = torch.randn(length, 4, generator=random, dtype=torch.float64) - 3
    return Sequences(values, torch.tensor(lengths, dtype=torch.int64))


@every_pooling
@laws
@given(
    lengths=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    extra=st.integers(0, 2),
    padding=st.sampled_from([float("nan"), float("inf"), 1e9, 0.0]),
)
def test_pooling_is_the_formula_of_each_row(
    pool: Pooling, formula: Callable[[Tensor], Tensor], lengths: list[int], extra: int, padding: float
) -> None:
    batch = ragged(lengths, max(extra, 1 - max(lengths)), padding)
    expected = [formula(row) if len(row) else torch.zeros(4, dtype=torch.float64) for row in batch.unpad()]
    torch.testing.assert_close(pool(batch), torch.stack(expected), rtol=1e-14, atol=0)


@every_pooling
@laws
@given(
    lengths=st.lists(st.integers(0, 7), min_size=1, max_size=4),
    edges=st.lists(st.integers(0, 7), max_size=3),
    levels=st.sampled_from([None, 2]),
)
def test_chunks_pool_as_the_whole_does(
    pool: Pooling, formula: Callable[[Tensor], Tensor], lengths: list[int], edges: list[int], levels: int | None
) -> None:
    """Values to the bit but for sums, and gradients where steps tie (two levels) too; zeros are no step's."""
    batch = ragged(lengths, 1, float("nan"))
    values = batch.values if levels is None else (batch.values.nan_to_num() * levels).round().clamp(-1, 0)
    whole, parts = values.clone().requires_grad_(), values.clone().requires_grad_()
    T = values.shape[1]
    places = [0, *sorted(min(edge, T) for edge in edges), T]
    state = pool.initial_state(len(lengths), 4, values)
    for chunk in batch.with_values(parts).split([b - a for a, b in itertools.pairwise(places)]):
        state = pool.read(chunk, state)
    found, expected = pool.vector(state), pool(batch.with_values(whole))
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-15)
    weight = torch.arange(1.0, 4 * len(lengths) + 1, dtype=torch.float64).reshape(-1, 4)
    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(parts.grad, whole.grad, rtol=1e-14, atol=1e-15)


def test_steps_that_tie_share_the_gradient_of_the_maximum() -> None:
    values = torch.tensor([[[3.0], [1.0], [3.0], [3.0]]], requires_grad=True)
    Max()(Sequences.full(values)).sum().backward()
    assert values.grad is not None
    torch.testing.assert_close(values.grad.flatten(), torch.tensor([1 / 3, 0, 1 / 3, 1 / 3]))


@every_pooling
def test_gradient_reaches_valid_steps_only(pool: Pooling, formula: Callable[[Tensor], Tensor]) -> None:
    batch = ragged([3, 0, 1, 4], 1, float("nan"))
    values = batch.values.clone().requires_grad_()
    weight = torch.arange(1.0, 17.0, dtype=torch.float64).reshape(4, 4)
    (found,) = torch.autograd.grad((pool(batch.with_values(values)) * weight).sum(), values)
    rows = [row.clone().requires_grad_() for row in batch.unpad()]
    total = sum((formula(row) * w).sum() for row, w in zip(rows, weight, strict=True) if len(row))
    expected = torch.autograd.grad(total, [row for row in rows if len(row)])  # type: ignore[arg-type]
    assert torch.equal(found[batch.padding_mask], torch.zeros_like(found[batch.padding_mask]))
    torch.testing.assert_close(found[batch.valid], torch.cat(expected), rtol=1e-14, atol=0)


@pytest.mark.parametrize("pool", [Mean(), Max()])
def test_no_step_at_all_gives_zeros(pool: Pooling) -> None:
    assert torch.equal(pool(Sequences(torch.zeros(2, 0, 4), torch.tensor([0, 0]))), torch.zeros(2, 4))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_last_of_no_step_at_all_is_zero(bidirectional: bool) -> None:
    pool = Last(bidirectional)
    assert torch.equal(pool(Sequences(torch.zeros(2, 0, 4), torch.tensor([0, 0]))), torch.zeros(2, 4))


def test_several_poolings_stand_side_by_side() -> None:
    batch = ragged([3, 0, 1], 1, float("nan"))
    found = pooling(["mean", "max", "last"], bidirectional=True)(batch)
    expected = torch.cat([Mean()(batch), Max()(batch), Last(bidirectional=True)(batch)], dim=1)
    assert torch.equal(found, expected)


def test_last_by_name_knows_the_directions() -> None:
    batch = ragged([3, 2], 0, 0.0)
    assert torch.equal(pooling(["last"], bidirectional=False)(batch), batch.last())
    assert not torch.equal(pooling(["last"], bidirectional=True)(batch), batch.last())
