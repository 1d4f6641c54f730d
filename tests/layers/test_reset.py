"""Resets in mid-sequence: rows that were cut and joined again, whatever runs them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from catalogue import CELLS
from seqloom.cells.cell import Cell
from seqloom.cells.lstm import LSTM
from seqloom.errors import UsageError
from seqloom.layers.recurrent import Recurrent
from seqloom.lookup import find
from seqloom.sequences import Sequences
from seqloom.state import map_state, select, where
from seqloom.wrappers import wrap

LENGTHS = torch.tensor([6, 0, 4, 6])


def stack(cell: str = "lstm", *, both: bool = False, **options: Any) -> Recurrent:
    torch.manual_seed(0)
    kind = find("cells", cell, Cell)
    layer = Recurrent(kind, 3, 4, 2, bidirectional=both, wrap=lambda one: wrap(one, **options)).double()
    for weight in layer.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return layer.eval()


def rows() -> Sequences:
    random = torch.Generator().manual_seed(1)
    values = torch.randn(4, 6, 3, generator=random, dtype=torch.float64)
    values[..., 0] = values[..., 0].abs()  # of a cell that reads elapsed time it is that time
    return Sequences(values, LENGTHS)


def step_by_step(layer: Recurrent, input: Sequences, state: Any, reset: Tensor) -> tuple[Tensor, Any]:
    """The definition: before a step with a reset the row's state is the initial one."""
    outputs = []
    for t, chunk in enumerate(input.split([1] * 6)):
        state = where(reset[:, t] & input.valid[:, t], layer.initial_state(4), state)
        output, state = layer(chunk, state)
        outputs.append(output.values)
    return torch.cat(outputs, dim=1), state


def close(a: Tensor, b: Tensor) -> Tensor:
    torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)
    return a


@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=6, deadline=None, derandomize=True)
@given(st.lists(st.booleans(), min_size=24, max_size=24))
def test_a_reset_is_the_initial_state_before_that_step(cell: str, flags: list[bool]) -> None:
    layer, input = stack(cell, learned_state=True), rows()
    reset = torch.tensor(flags).reshape(4, 6)
    state = map_state(torch.randn_like, layer.initial_state(4))
    output, final = layer(input, state, reset=reset)
    expected, end = step_by_step(layer, input, state, reset)
    close(output.values, expected)
    map_state(close, final, end)


def test_gradients_do_not_cross_a_reset_and_reach_the_learned_state() -> None:
    layer, input = stack(learned_state=True), rows()
    values = input.values.clone().requires_grad_()
    reset = torch.zeros(4, 6, dtype=torch.bool)
    reset[:, 3] = True
    output, _ = layer(input.with_values(values), reset=reset)
    output.values[:, 3:].sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad[:, :3], torch.zeros(4, 3, 3, dtype=torch.float64))
    assert bool((values.grad[0, 3:] != 0).all())
    assert all(weight.grad is not None and bool(weight.grad.any()) for weight in layer.parameters())


def test_in_both_directions_pieces_know_nothing_of_each_other() -> None:
    layer, input = stack(both=True), rows()
    reset = torch.zeros(4, 6, dtype=torch.bool)
    reset[0, 2] = reset[2, 0] = reset[2, 3] = reset[2, 5] = True  # the last one lies on padding
    state = map_state(torch.randn_like, layer.initial_state(4))
    output, final = layer(input, state, reset=reset)
    initial = layer.initial_state(1)
    head, tail = (Sequences.full(part) for part in (input.values[:1, :2], input.values[:1, 2:]))
    mine = select(state, [0])
    forward_enters = tuple((given[0], fresh[1]) for given, fresh in zip(mine, initial, strict=True))
    backward_enters = tuple((fresh[0], given[1]) for given, fresh in zip(mine, initial, strict=True))
    first, first_end = layer(head, forward_enters)
    second, second_end = layer(tail, backward_enters)
    close(output.values[0], torch.cat([first.values[0], second.values[0]]))
    expected = tuple((late[0], early[1]) for late, early in zip(second_end, first_end, strict=True))
    map_state(close, select(final, [0]), expected)
    map_state(close, select(final, [1]), select(state, [1]))


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_no_rows_or_no_steps(shape: tuple[int, int]) -> None:
    layer = stack()
    input = Sequences.full(torch.zeros(*shape, 3, dtype=torch.float64))
    output, _ = layer(input, reset=torch.zeros(shape, dtype=torch.bool))
    assert output.values.shape == (*shape, 4)


@pytest.mark.parametrize("junk", [float("nan"), 1e30])
def test_padding_is_not_read(junk: float) -> None:
    layer, input = stack(both=True), rows()
    reset = torch.ones(4, 6, dtype=torch.bool)
    dirty = input.with_values(torch.where(input.valid.unsqueeze(2), input.values, junk))
    assert torch.equal(layer(dirty, reset=reset)[0].values, layer(input, reset=reset)[0].values)


def test_a_wrong_reset_is_named() -> None:
    layer = Recurrent(LSTM, 3, 4)
    with pytest.raises(UsageError, match=r"reset is torch\.int64 of shape \(4, 6\); expected torch\.bool of shape"):
        layer(Sequences(torch.zeros(4, 6, 3), LENGTHS), reset=torch.zeros(4, 6, dtype=torch.int64))
