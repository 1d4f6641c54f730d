"""The front end beside its own equation, written as loops, and beside torch's convolution."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from seqloom.layers.conv import Conv, ConvSettings, ConvState
from seqloom.layers.front import Front
from seqloom.sequences import Sequences
from seqloom.state import from_bytes, map_state, select, stack, to_bytes

F = 2
LAYERS: dict[str, dict[str, Any]] = {
    "causal": {"kernel_size": 3},
    "a single tap": {"kernel_size": 1, "residual": True},
    "causal, dilated": {"kernel_size": 3, "dilation": 2, "residual": True, "layer_norm": True},
    "causal, strided": {"kernel_size": 5, "stride": 3, "residual": True},
    "causal, no context": {"kernel_size": 4, "stride": 4},
    "causal, strided and dilated": {"kernel_size": 3, "stride": 2, "dilation": 3, "residual": True},
    "centred": {"kernel_size": 5, "causal": False, "residual": True},
    "centred, even": {"kernel_size": 4, "causal": False},
    "centred, dilated": {"kernel_size": 3, "dilation": 4, "causal": False},
    "centred, strided": {"kernel_size": 4, "stride": 2, "causal": False, "residual": True, "layer_norm": True},
    "centred, strided and dilated": {"kernel_size": 5, "stride": 3, "dilation": 2, "causal": False},
}
STACKS = {
    "causal": ["causal, strided", "causal, dilated", "causal, no context"],
    "mixed": ["centred, strided", "causal, strided", "centred, dilated"],
    "none": [],
}
every_layer = pytest.mark.parametrize("name", LAYERS)
every_stack = pytest.mark.parametrize("name", STACKS)


@pytest.fixture(autouse=True)
def double() -> Any:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def filled(module: nn.Module) -> Any:
    torch.manual_seed(0)
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.5)
    return module.eval()


def layer(name: str) -> Conv:
    return filled(Conv(F, 3, **LAYERS[name]))  # type: ignore[no-any-return]


def front(name: str) -> Front:
    return filled(Front(F, [ConvSettings(channels=3, **LAYERS[part]) for part in STACKS[name]]))  # type: ignore[no-any-return]


def ragged(lengths: list[int], seed: int = 1) -> Sequences:
    random = torch.Generator().manual_seed(seed)
    values = torch.randn(len(lengths), max(lengths, default=0), F, generator=random)
    return Sequences(values, torch.tensor(lengths, dtype=torch.int64))


def by_the_equation(layer: Conv, row: Tensor) -> Tensor:
    """(ceil(L / s), C) of one row (L, F), tap by tap."""
    K, s, a = layer.conv.kernel_size[0], layer.stride, layer.delay
    d = layer.conv.dilation[0]
    found = []
    for j in range(math.ceil(len(row) / s)):
        total = layer.conv.bias
        for k in range(K):
            place = j * s + a - (K - 1 - k) * d
            if 0 <= place < len(row):
                total = total + layer.conv.weight[:, :, k] @ row[place]
        made = torch.relu(layer.finish[0](total))
        found.append(made if layer.shortcut is None else made + layer.shortcut(row[j * s]))
    return torch.stack(found) if found else row.new_zeros(0, layer.output_size)


def assert_close(found: Tensor, expected: Tensor) -> Tensor:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    return found


def in_chunks(module: Any, input: Sequences, edges: list[int]) -> tuple[list[Tensor], Any]:
    """Each row's answers, one chunk after another, and the state at the end."""
    T, state = input.values.shape[1], None
    sizes = [b - a for a, b in itertools.pairwise([0, *edges, T])]
    rows: list[list[Tensor]] = [[] for _ in input.lengths]
    for k, chunk in enumerate(input.split(sizes)):
        made, state = module(chunk, state, final=k + 1 == len(sizes))
        for row, part in zip(rows, made.unpad(), strict=True):
            row.append(part)
    return [torch.cat(parts) for parts in rows], state


@every_layer
def test_a_layer_is_its_equation(name: str) -> None:
    """Rows of no step, of one, shorter than the kernel, and longer; odd and even counts of answers."""
    conv, batch = layer(name), ragged([0, 1, 2, 3, 4, 7, 12, 13, 20])
    made, _ = conv(batch)
    assert made.lengths.tolist() == [math.ceil(length / conv.stride) for length in batch.lengths.tolist()]
    for found, row in zip(made.unpad(), batch.unpad(), strict=True):
        assert_close(found, by_the_equation(conv, row))
    assert bool((made.values[made.padding_mask] == 0).all())


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize(("kernel_size", "dilation"), [(5, 1), (4, 1), (3, 2), (2, 3)])
def test_a_centred_layer_is_padded_as_torch_pads(kernel_size: int, dilation: int) -> None:
    conv = filled(Conv(F, 3, kernel_size, dilation=dilation, causal=False))
    same = nn.Conv1d(F, 3, kernel_size, dilation=dilation, padding="same")
    same.load_state_dict(conv.conv.state_dict())
    values = torch.randn(2, 9, F)
    assert_close(conv(Sequences.full(values))[0].values, torch.relu(same(values.transpose(1, 2)).transpose(1, 2)))


def test_a_causal_layer_is_padded_on_the_left() -> None:
    conv = filled(Conv(F, 3, 3, stride=2))
    values = torch.randn(2, 8, F)
    padded = nn.functional.pad(values.transpose(1, 2), (1, 0))  # the taps of the first answer end at step 1
    assert_close(conv(Sequences.full(values))[0].values, torch.relu(conv.conv(padded).transpose(1, 2)))


@every_layer
def test_any_chunks_give_what_the_whole_gives(name: str) -> None:
    """Rows that end in different chunks, chunks of no step, borders within a stride, and the flush at the end."""
    conv, batch = layer(name), ragged([11, 0, 3, 14, 1, 8])
    whole, final = conv(batch)

    @given(st.lists(st.integers(0, 14), max_size=6))
    def holds(edges: list[int]) -> None:
        rows, state = in_chunks(conv, batch, sorted(edges))
        for found, expected in zip(rows, whole.unpad(), strict=True):
            assert_close(found, expected)
        map_state(assert_close, state, final)

    holds()


@every_stack
def test_a_stack_in_any_chunks(name: str) -> None:
    stack_of, batch = front(name), ragged([40, 0, 7, 33, 1])
    whole, final = stack_of(batch)
    assert whole.lengths.tolist() == stack_of.lengths(batch.lengths).tolist()

    @given(st.lists(st.integers(0, 40), max_size=6))
    def holds(edges: list[int]) -> None:
        rows, state = in_chunks(stack_of, batch, sorted(edges))
        for found, expected in zip(rows, whole.unpad(), strict=True):
            assert_close(found, expected)
        map_state(assert_close, state, final)

    holds()


@every_stack
def test_step_by_step_each_answer_comes_after_the_stated_delay(name: str) -> None:
    stack_of, batch = front(name), ragged([40])
    state, arrived = None, []
    for t, step in enumerate(batch.split([1] * 40)):
        made, state = stack_of(step, state, final=False)
        arrived += [t] * int(made.lengths)
    factor, delay = stack_of.factor, stack_of.delay
    assert arrived == [j * factor + delay for j in range(len(arrived))]
    assert arrived[-1] + factor >= 40
    flushed, _ = stack_of(Sequences(torch.zeros(1, 0, F), torch.zeros(1, dtype=torch.int64)), state)
    assert len(arrived) + int(flushed.lengths) == math.ceil(40 / factor)


@every_stack
def test_the_receptive_field_is_what_the_gradient_says(name: str) -> None:
    stack_of = front(name)
    for conv in stack_of.convs():  # no ReLU may hide a step
        conv.finish = nn.Identity()
    values = torch.randn(1, 300, F, requires_grad=True)
    made, _ = stack_of(Sequences.full(values))
    j = 150 // stack_of.factor
    made.values[0, j].sum().backward()
    assert values.grad is not None
    read = values.grad[0].abs().sum(dim=-1).nonzero().flatten()
    assert int(read[-1] - read[0]) + 1 == stack_of.receptive_field
    assert int(read[-1]) == j * stack_of.factor + stack_of.delay
    assert stack_of.delay == stack_of.factor - 1 + stack_of.lookahead


@every_layer
def test_no_later_step_is_read_by_a_causal_layer(name: str) -> None:
    conv, batch = layer(name), ragged([12])
    values = batch.values.clone()
    values[:, 6:] += 1.0
    before, after = conv(batch)[0].values, conv(batch.with_values(values))[0].values
    changed = (before != after).any(dim=-1)[0].nonzero().flatten()
    first = (6 - conv.lookahead) // conv.stride
    assert int(changed[0]) >= first
    assert (conv.lookahead > 0) == name.startswith("centred")


@every_layer
def test_padding_and_company_never_matter(name: str) -> None:
    conv, batch = layer(name), ragged([5, 0, 9, 2])
    expected, final = conv(batch)
    values = torch.cat([batch.values, torch.zeros(4, 4, F)], dim=1)
    wide = Sequences(values, batch.lengths)
    dirty = torch.where(wide.padding_mask.unsqueeze(2), torch.nan, values).requires_grad_()
    found, after = conv(wide.with_values(dirty))
    for one, other in zip(found.unpad(), expected.unpad(), strict=True):
        assert_close(one, other)
    map_state(assert_close, after, final)
    found.values.sum().backward()
    assert dirty.grad is not None
    assert bool((dirty.grad[wide.padding_mask] == 0).all())
    for k, row in enumerate(batch.unpad()):
        alone, state = conv(Sequences.pad([row]))
        assert_close(alone.unpad()[0], expected.unpad()[k])
        map_state(assert_close, state, select(final, [k]))


@every_layer
@pytest.mark.parametrize("last", [True, False])
def test_gradients(name: str, last: bool) -> None:
    """With respect to steps, weights and the remembered steps, of rows that wait for unequal counts of steps."""
    conv, batch = layer(name), ragged([6, 0, 3])
    _, start = conv(ragged([5, 2, 0], seed=2), final=False)
    names = list(dict(conv.named_parameters()))

    def run(values: Tensor, recent: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        state = ConvState(recent, start.wait)
        made, after = torch.func.functional_call(
            conv, dict(zip(names, weights, strict=True)), (batch.with_values(values), state), {"final": last}
        )
        return made.values, after.recent

    leaves = [batch.values, start.recent.detach(), *(weight.detach() for weight in conv.parameters())]
    assert torch.autograd.gradcheck(run, [leaf.clone().requires_grad_() for leaf in leaves], fast_mode=True)


@every_layer
def test_state_is_a_value(name: str) -> None:
    conv = layer(name)
    _, state = conv(ragged([5, 2, 0]), final=False)
    before = to_bytes(state)
    rest = ragged([7, 3, 9], seed=3)
    expected, final = conv(rest, state, final=False)
    assert to_bytes(state) == before
    saved = from_bytes(before, like=conv.initial_state(1))
    assert torch.equal(conv(rest, saved, final=False)[0].values, expected.values)
    forked, _ = conv(rest.select(torch.tensor([2, 0])), select(state, [2, 0]), final=False)
    for k, row in enumerate([2, 0]):
        assert_close(forked.unpad()[k], expected.unpad()[row])
    joined = stack([select(state, [0]), select(state, [1, 2])])
    map_state(assert_close, conv(rest, joined, final=False)[1], final)
    assert {len(leaf) for leaf in conv.initial_state(0)} == {0}


@every_layer
def test_nothing_to_read(name: str) -> None:
    conv = layer(name)
    for rows, steps in ((0, 4), (2, 0), (0, 0)):
        made, state = conv(Sequences(torch.zeros(rows, steps, F), torch.zeros(rows, dtype=torch.int64)))
        assert made.values.shape[::2] == (rows, 3)
        assert made.lengths.tolist() == [0] * rows
        assert len(state.recent) == rows


def test_the_state_does_not_hold_the_chunk() -> None:
    _, state = layer("causal")(ragged([10_000]))
    assert state.recent.untyped_storage().nbytes() == 2 * F * 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel_size": 1, "dilation": 2}, "dilation 2 has no effect on a kernel of one step; leave it out"),
        ({"kernel_size": 2, "stride": 3}, "read 2 of every 3 steps, the others never"),
        ({"kernel_size": 3, "stride": 2, "dilation": 2}, "read 1 of every 2 steps, the others never"),
        ({"kernel_size": 1, "causal": False}, "causal: false has no effect"),
        ({"kernel_size": 4, "stride": 4, "causal": False}, "kernel of 4 steps at stride 4 reads only the steps"),
    ],
)
def test_settings_without_effect(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ConvSettings(channels=2, **settings)
