"""torch's layers with lengths: the same constructor, weights and results, row by row."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqloom.layers import GRU, LSTM, RNN

# torch itself says once that it has a slower way for projections.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

LAYERS = [(LSTM, nn.LSTM), (GRU, nn.GRU), (RNN, nn.RNN)]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
    {"bias": False, "batch_first": True},
]
every = [pytest.param(ours, theirs, options) for ours, theirs in LAYERS for options in OPTIONS] + [
    pytest.param(LSTM, nn.LSTM, {"proj_size": 2, "num_layers": 2, "bidirectional": True}),
    pytest.param(RNN, nn.RNN, {"nonlinearity": "relu", "num_layers": 2}),
]


def states(final: Any) -> tuple[Tensor, ...]:
    return final if isinstance(final, tuple) else (final,)


def one_by_one(layer: Any, input: Tensor, hx: Any, lengths: list[int]) -> tuple[Tensor, list[Tensor]]:
    """torch's own layer over each row alone, without padding; (B, T, ...) and states (L*D, B, H)."""
    rows, finals = [], []
    for b, length in enumerate(lengths):
        first = None if hx is None else tuple(part[:, b : b + 1] for part in states(hx))
        given_state = None if first is None else first if isinstance(hx, tuple) else first[0]
        if length == 0:
            rows.append(None)
            finals.append(first)
            continue
        row = input[b : b + 1, :length]
        output, final = layer(row if layer.batch_first else row.transpose(0, 1), given_state)
        rows.append((output if layer.batch_first else output.transpose(0, 1))[0])
        finals.append(states(final))
    width = next(row.shape[-1] for row in rows if row is not None)
    outputs = input.new_zeros(len(lengths), input.shape[1], width)
    for b, row in enumerate(rows):
        if row is not None:
            outputs[b, : len(row)] = row
    like = next(final for final in finals if final is not None)
    zeros = tuple(torch.zeros_like(part) for part in like)
    stacked = [torch.cat(parts, dim=1) for parts in zip(*(f if f is not None else zeros for f in finals), strict=True)]
    return outputs, stacked


@pytest.mark.parametrize(("ours", "theirs", "options"), every)
@pytest.mark.parametrize("with_state", [False, True])
def test_rows_are_as_if_alone(ours: Any, theirs: Any, options: dict[str, Any], with_state: bool) -> None:
    torch.manual_seed(0)
    layer = ours(3, 4, **options).double()
    lengths = [2, 0, 5, 1, 5]
    input = torch.randn(5, 5, 3, dtype=torch.float64)
    depth = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    widths = [options.get("proj_size", 4), 4] if theirs is nn.LSTM else [4]
    parts = tuple(torch.randn(depth, 5, width, dtype=torch.float64) for width in widths)
    hx = (parts if theirs is nn.LSTM else parts[0]) if with_state else None
    expected, final = one_by_one(layer, input, hx, lengths)
    dirty = input.clone()
    for b, length in enumerate(lengths):
        dirty[b, length:] = float("nan")
    found, found_final = layer(dirty if layer.batch_first else dirty.transpose(0, 1), hx, lengths=torch.tensor(lengths))
    torch.testing.assert_close(found if layer.batch_first else found.transpose(0, 1), expected)
    for one, other in zip(states(found_final), final, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("ours", "theirs", "options"), every)
def test_weights_travel_both_ways_and_plain_calls_agree(ours: Any, theirs: Any, options: dict[str, Any]) -> None:
    layer, reference = ours(3, 4, **options), theirs(3, 4, **options)
    layer.load_state_dict(reference.state_dict())
    reference.load_state_dict(layer.state_dict())
    input = torch.randn(5, 2, 3)
    torch.testing.assert_close(layer(input), reference(input))
    packed = pack_padded_sequence(
        input, torch.tensor([5, 3]) if not layer.batch_first else torch.tensor([2] * 5), batch_first=layer.batch_first
    )
    found, expected = layer(packed), reference(packed)
    assert torch.equal(found[0].batch_sizes, expected[0].batch_sizes)
    torch.testing.assert_close(pad_packed_sequence(found[0])[0], pad_packed_sequence(expected[0])[0])
    torch.testing.assert_close(found[1], expected[1])
    alone = input[:, 0]  # one row without a batch
    torch.testing.assert_close(layer(alone), reference(alone))
    with pytest.raises(RuntimeError, match=r"must match|Expected hidden"):
        layer(input, torch.zeros(7, 2, 4) if not isinstance(layer, nn.LSTM) else (torch.zeros(7, 2, 4),) * 2)


@pytest.mark.parametrize(("ours", "theirs"), LAYERS)
def test_padding_gets_no_gradient_and_poisons_none(ours: Any, theirs: Any) -> None:
    layer = ours(2, 3, batch_first=True)
    input = torch.randn(2, 4, 2)
    input[0, 2:] = float("nan")
    input.requires_grad_()
    layer(input, lengths=torch.tensor([2, 4]))[0].sum().backward()
    assert input.grad is not None
    assert torch.equal(input.grad[0, 2:], torch.zeros(2, 2))
    assert all(bool(torch.isfinite(weight.grad).all()) for weight in layer.parameters())


@given(st.lists(st.integers(0, 6), min_size=1, max_size=5), st.integers(0, 3))
def test_more_padding_changes_nothing(lengths: list[int], more: int) -> None:
    layer = GRU(2, 3, batch_first=True, bidirectional=True)
    input = torch.randn(len(lengths), 6, 2)
    longer = torch.cat([input, torch.full((len(lengths), more, 2), float("nan"))], dim=1)
    short, final = layer(input, lengths=torch.tensor(lengths))
    long, long_final = layer(longer, lengths=torch.tensor(lengths))
    torch.testing.assert_close(long[:, :6], short)
    torch.testing.assert_close(long_final, final)


def test_wrong_lengths_are_named() -> None:
    layer, input = LSTM(2, 3, batch_first=True), torch.zeros(2, 4, 2)
    with pytest.raises(ValueError, match=r"lengths are \[5, 1\]; expected 2 numbers, each in 0\.\.4"):
        layer(input, lengths=torch.tensor([5, 1]))
    with pytest.raises(TypeError, match=r"lengths are torch\.float32; expected absolute step counts"):
        layer(input, lengths=torch.tensor([0.5, 1.0]))
    packed = pack_padded_sequence(input, torch.tensor([4, 4]), batch_first=True)
    with pytest.raises(TypeError, match="a PackedSequence knows its lengths"):
        layer(packed, lengths=torch.tensor([4, 4]))


@pytest.mark.parametrize(("ours", "theirs", "options"), every)
def test_lengths_are_a_packed_sequence(ours: Any, theirs: Any, options: dict[str, Any]) -> None:
    """The same results as torch's way of saying it, packing, in float32, for rows in any order."""
    torch.manual_seed(0)
    layer, reference = ours(3, 4, **options), theirs(3, 4, **options)
    reference.load_state_dict(layer.state_dict())
    first, lengths = layer.batch_first, torch.tensor([2, 5, 1, 5])
    input = torch.randn(4, 5, 3) if first else torch.randn(5, 4, 3)
    packed = pack_padded_sequence(input, lengths, first, enforce_sorted=False)
    expected, final = reference(packed)
    output, end = layer(input, lengths=lengths)
    torch.testing.assert_close(output, pad_packed_sequence(expected, first)[0])
    for one, other in zip(states(end), states(final), strict=True):
        torch.testing.assert_close(one, other)
    again, _ = layer(packed)
    torch.testing.assert_close(pad_packed_sequence(again, first)[0], output)


@pytest.mark.parametrize(("ours", "theirs"), LAYERS)
def test_the_constructor_is_torchs(ours: Any, theirs: Any) -> None:
    """Positional arguments and defaults too: time comes first unless `batch_first` says otherwise."""
    assert isinstance(ours(3, 4), theirs)
    output, _ = ours(3, 4)(torch.zeros(5, 2, 3), lengths=torch.tensor([5, 1]))
    assert output.shape == (5, 2, 4)
    assert bool((output[1:, 1] == 0).all())


def test_rows_all_empty_give_the_state_they_were_given() -> None:
    layer = LSTM(3, 4, proj_size=2, batch_first=True)
    state = torch.randn(1, 2, 2), torch.randn(1, 2, 4)
    output, (h, c) = layer(torch.full((2, 5, 3), float("nan")), state, lengths=torch.zeros(2, dtype=torch.int64))
    assert torch.equal(output, torch.zeros(2, 5, 2))
    assert torch.equal(h, state[0])
    assert torch.equal(c, state[1])
