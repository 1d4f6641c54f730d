"""Irregular times: waiting is exact, whatever pieces it is cut into, whatever the unit, in both directions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import softplus

from seqloom.cells.decay_gru import DecayGRU
from seqloom.cells.gru import GRU, GRUState
from seqloom.layers.recurrent import Recurrent
from seqloom.sequences import Sequences

laws = settings(max_examples=30, deadline=None, derandomize=True)
gaps = st.floats(0, 50)


def cell(seed: int = 0) -> DecayGRU:
    torch.manual_seed(seed)
    return DecayGRU(3, 4).double()


def assert_close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def after(made: DecayGRU, input: Tensor, h: Tensor) -> Tensor:
    """The state after some steps (B, T, 3), the first feature of each its elapsed time."""
    state = GRUState(h)
    for projected in made.project(input).unbind(dim=1):
        _, state = made.step(projected, state)
    return state.h


@laws
@given(gaps, gaps)
def test_waiting_twice_is_waiting_once_as_long(a: float, b: float) -> None:
    made, h = cell(), torch.randn(2, 4, dtype=torch.float64)
    first, second = (torch.full((2, 1), gap, dtype=torch.float64) for gap in (a, b))
    once = made.wait(GRUState(h), first + second)
    assert_close(made.wait(made.wait(GRUState(h), first), second).h, once.h)


@laws
@given(st.floats(0.1, 20), st.lists(st.floats(0.05, 1), min_size=1, max_size=5))
def test_splitting_a_gap_with_steps_that_write_nothing_changes_nothing(gap: float, shares: list[float]) -> None:
    """Steps with a closed update gate (z = 1) only wait: one long gap or many short ones are the same."""
    made, h = cell(), torch.randn(1, 4, dtype=torch.float64)
    with torch.no_grad():
        made.weight_ih[4:8] = 0
        made.weight_hh[4:8] = 0
        made.bias_ih[4:8] = 500.0
    parts = torch.tensor([share / sum(shares) * gap for share in shares], dtype=torch.float64)
    many = torch.cat([parts.reshape(1, -1, 1), torch.randn(1, len(shares), 2, dtype=torch.float64)], dim=-1)
    single = torch.cat(
        [torch.full((1, 1, 1), gap, dtype=torch.float64), torch.randn(1, 1, 2, dtype=torch.float64)], dim=-1
    )
    assert_close(after(made, many, h), after(made, single, h))


def test_without_waiting_it_is_the_gru() -> None:
    made, h = cell(), torch.randn(5, 4, dtype=torch.float64)
    plain = GRU(2, 4).double()
    plain.load_state_dict({name: weight for name, weight in made.state_dict().items() if name != "rate"})
    x = torch.randn(5, 2, dtype=torch.float64)
    expected, _ = plain.step(plain.project(x), GRUState(h))
    found, _ = made.step(made.project(torch.cat([torch.zeros(5, 1).double(), x], dim=-1)), GRUState(h))
    assert_close(found, expected)


def test_after_ages_nothing_is_left() -> None:
    made = cell()
    x = torch.tensor([[[1e6, 0.3, -0.2]]], dtype=torch.float64)
    assert_close(after(made, x, torch.full((1, 4), 9.0).double()), after(made, x, torch.zeros(1, 4).double()))


@laws
@given(st.floats(0.01, 100))
def test_another_unit_of_time_is_another_rate(unit: float) -> None:
    made, other = cell(), cell()
    with torch.no_grad():
        other.rate.copy_(torch.log(torch.expm1(softplus(made.rate) / unit)))
    random = torch.Generator().manual_seed(2)
    input = torch.rand(2, 6, 3, generator=random, dtype=torch.float64)
    scaled = torch.cat([input[..., :1] * unit, input[..., 1:]], dim=-1)
    begin = torch.ones(2, 4, dtype=torch.float64)
    torch.testing.assert_close(after(other, scaled, begin), after(made, input, begin), rtol=1e-7, atol=1e-9)


def test_memories_begin_between_one_and_a_hundred_usual_gaps() -> None:
    torch.manual_seed(0)
    memory = 1 / softplus(DecayGRU(2, 5000).rate.detach())
    assert 1 <= float(memory.min()) < 1.01
    assert 99 < float(memory.max()) <= 100.01
    assert float(memory.median()) == pytest.approx(10, rel=0.1)


def stamped(times: list[float], values: Tensor) -> Sequences:
    """One row with the time since the step before in front of its features."""
    stamps = torch.tensor(times, dtype=torch.float64)
    elapsed = torch.cat([stamps.new_zeros(1), stamps.diff()]).reshape(1, -1, 1)
    return Sequences.full(torch.cat([elapsed, values], dim=-1))


def test_every_layer_is_shown_the_time() -> None:
    """The second layer fades during a gap as the first does: its decay changes the answer."""
    torch.manual_seed(0)
    layer = Recurrent(DecayGRU, 3, 4, 2).double()
    assert layer.cells()[1][0].input_size == 5
    input = stamped([0.0, 1.0, 9.0], torch.randn(1, 3, 2, dtype=torch.float64))
    before, _ = layer(input)
    with torch.no_grad():
        layer.cells()[1][0].get_parameter("rate").add_(3)
    after_, _ = layer(input)
    assert_close(before.values[:, :1], after_.values[:, :1])
    assert not torch.allclose(before.values[:, 2], after_.values[:, 2])


def test_backwards_a_gap_lies_on_its_other_side() -> None:
    """Reading from the end is reading the same moments in the opposite order: gaps stay between their two steps."""
    torch.manual_seed(0)
    layer = Recurrent(DecayGRU, 3, 4, 1, bidirectional=True).double()
    times, values = [0.0, 1.0, 6.0, 6.5], torch.randn(1, 4, 2, dtype=torch.float64)
    output, _ = layer(stamped(times, values))
    forward, backward = layer.cells()[0]
    mirrored = stamped([-time for time in reversed(times)], values.flip(1))
    alone = Recurrent(DecayGRU, 3, 4).double()
    alone.cells()[0][0].load_state_dict(backward.state_dict())
    assert_close(alone(mirrored)[0].values.flip(1), output.values[..., 4:])
    alone.cells()[0][0].load_state_dict(forward.state_dict())
    assert_close(alone(stamped(times, values))[0].values, output.values[..., :4])


def test_dropout_of_inputs_leaves_the_time_alone() -> None:
    layer = Recurrent(DecayGRU, 3, 4, dropout=0.5).double().train()
    input = stamped([0.0, 1.0, 9.0], torch.ones(1, 3, 2, dtype=torch.float64))
    dropped = layer.drop(input)
    assert torch.equal(dropped.values[..., 0], input.values[..., 0])
    assert not torch.equal(dropped.values[..., 1:], input.values[..., 1:])
