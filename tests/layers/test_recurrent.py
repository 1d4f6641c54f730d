"""A stack of cells is torch's own layer, reads no padding, and can be cut anywhere in time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqloom.cells.cell import Cell
from seqloom.layers.recurrent import Recurrent
from seqloom.lookup import find, names
from seqloom.sequences import Sequences
from seqloom.state import map_state

CELLS = {name: find("cells", name, Cell) for name in names("cells")}
THEIRS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
laws = settings(max_examples=8, deadline=None, derandomize=True)
every_cell = pytest.mark.parametrize("name", CELLS)
both_backends = pytest.mark.parametrize("backend", ["auto", "reference"])
one_or_two_ways = pytest.mark.parametrize("bidirectional", [False, True])
TIGHT = {"rtol": 1e-11, "atol": 1e-12}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost ten times more than these small products."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def stack(name: str, layers: int, *, bidirectional: bool = False, backend: str = "auto") -> Recurrent:
    torch.manual_seed(layers)
    return Recurrent(CELLS[name], 3, 4, layers, bidirectional=bidirectional, backend=backend).double()


def batch(lengths: list[int], *, extra: int = 0, padding: float = float("nan"), seed: int = 0) -> Sequences:
    random = torch.Generator().manual_seed(seed)
    values = torch.full((len(lengths), max(lengths) + extra, 3), padding, dtype=torch.float64)
    for row, length in enumerate(lengths):
        values[row, :length] = torch.randn(length, 3, generator=random, dtype=torch.float64)
    return Sequences(values, torch.tensor(lengths))


def random_state(layer: Recurrent, rows: int) -> Any:
    random = torch.Generator().manual_seed(rows)
    zeros = layer.initial_state(rows)
    return map_state(lambda part: torch.randn(part.shape, generator=random, dtype=part.dtype), zeros)


def leaves(state: Any) -> list[Tensor]:
    return [part for layer in state for direction in layer for part in direction]


def theirs(name: str, layer: Recurrent, layers: int, bidirectional: bool) -> nn.RNNBase:
    """torch's layer with the same weights."""
    other = THEIRS[name](3, 4, layers, batch_first=True, bidirectional=bidirectional).double()
    with torch.no_grad():
        for depth, cells in enumerate(layer.cells()):
            for way, cell in zip(("", "_reverse"), cells, strict=False):
                for weight, values in cell.named_parameters():
                    getattr(other, f"{weight}_l{depth}{way}").copy_(values)
    return other


def stacked(state: Any, field: int) -> Tensor:
    return torch.stack([direction[field] for layer in state for direction in layer])


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize("layers", [1, 3])
@one_or_two_ways
@both_backends
def test_stack_is_torchs_layer_on_packed_rows(name: str, layers: int, bidirectional: bool, backend: str) -> None:
    layer = stack(name, layers, bidirectional=bidirectional, backend=backend)
    other = theirs(name, layer, layers, bidirectional)
    input = batch([5, 1, 3, 5])
    state = random_state(layer, 4)
    output, final = layer(input, state)
    begin = tuple(stacked(state, field) for field in range(len(state[0][0])))
    packed = pack_padded_sequence(input.zero_padding().values, input.lengths, batch_first=True, enforce_sorted=False)
    expected, end = other(packed, begin if name == "lstm" else begin[0])
    torch.testing.assert_close(output.values, pad_packed_sequence(expected, batch_first=True)[0], **TIGHT)
    for field, part in enumerate(end if name == "lstm" else (end,)):
        torch.testing.assert_close(stacked(final, field), part, **TIGHT)


@every_cell
@one_or_two_ways
@both_backends
@laws
@given(lengths=st.lists(st.integers(0, 5), min_size=1, max_size=4).filter(any))
def test_batch_is_one_by_one(name: str, bidirectional: bool, backend: str, lengths: list[int]) -> None:
    layer = stack(name, 2, bidirectional=bidirectional, backend=backend)
    input = batch(lengths)
    together, final = layer(input)
    for row, alone in enumerate(input.unpad()):
        output, end = layer(Sequences.full(alone.unsqueeze(0)))
        torch.testing.assert_close(together.values[row, : len(alone)], output.values[0], **TIGHT)
        for all_rows, one in zip(leaves(final), leaves(end), strict=True):
            torch.testing.assert_close(all_rows[row], one[0], **TIGHT)


def learn(layer: Recurrent, input: Sequences) -> list[Tensor]:
    """Outputs, final state, and gradients of input and weights, all without what padding holds."""
    values = input.values.clone().requires_grad_()
    output, final = layer(input.with_values(values))
    valid = torch.cat(output.unpad())
    ramp = torch.linspace(0.5, 1.5, valid.numel(), dtype=torch.float64).reshape(valid.shape)
    loss = (valid * ramp).sum() + torch.stack([(part**2).sum() for part in leaves(final)]).sum()
    gradient, *weights = torch.autograd.grad(loss, [values, *layer.parameters()])
    assert torch.equal(gradient[input.padding_mask], torch.zeros_like(gradient[input.padding_mask]))
    return [valid.detach(), *(part.detach() for part in leaves(final)), gradient[input.valid], *weights]


@every_cell
@one_or_two_ways
@both_backends
@laws
@given(
    lengths=st.lists(st.integers(0, 5), min_size=1, max_size=4).filter(any),
    extra=st.integers(0, 3),
    padding=st.sampled_from([float("nan"), float("-inf"), 1e30]),
)
def test_padding_never_matters(
    name: str, bidirectional: bool, backend: str, lengths: list[int], extra: int, padding: float
) -> None:
    """What it holds changes no bit; how much there is changes nothing beyond rounding."""
    layer = stack(name, 2, bidirectional=bidirectional, backend=backend)
    dirty = learn(layer, batch(lengths, extra=extra, padding=padding))
    clean = learn(layer, batch(lengths, extra=extra, padding=0.0))
    short = learn(layer, batch(lengths, padding=0.0))
    for a, b, c in zip(dirty, clean, short, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, c, **TIGHT)


@every_cell
@one_or_two_ways
@both_backends
def test_empty_rows_give_the_state_they_were_given(name: str, bidirectional: bool, backend: str) -> None:
    layer = stack(name, 2, bidirectional=bidirectional, backend=backend)
    state = random_state(layer, 3)
    output, final = layer(batch([0, 4, 0]), state)
    assert torch.equal(output.values[[0, 2]], torch.zeros_like(output.values[[0, 2]]))
    for old, new in zip(leaves(state), leaves(final), strict=True):
        assert torch.equal(new[[0, 2]], old[[0, 2]])
        assert not torch.equal(new[1], old[1])


@every_cell
@both_backends
@laws
@given(
    lengths=st.lists(st.integers(0, 7), min_size=1, max_size=3).filter(any),
    cuts=st.lists(st.integers(0, 7), max_size=4),
)
def test_chunks_with_the_state_carried_give_the_whole(
    name: str, backend: str, lengths: list[int], cuts: list[int]
) -> None:
    layer = stack(name, 2, backend=backend)
    input = batch(lengths)
    T = max(lengths)
    borders = sorted(min(cut, T) for cut in cuts)
    state = random_state(layer, len(lengths))
    whole, end = layer(input, state)
    outputs = []
    for chunk in input.split([b - a for a, b in zip([0, *borders], [*borders, T], strict=True)]):
        output, state = layer(chunk, state)
        outputs.append(output.values)
    torch.testing.assert_close(torch.cat(outputs, dim=1), whole.values, **TIGHT)
    for carried, expected in zip(leaves(state), leaves(end), strict=True):
        torch.testing.assert_close(carried, expected, **TIGHT)


def test_omitted_state_is_the_initial_one() -> None:
    layer = stack("lstm", 2)
    input = batch([3, 2])
    assert torch.equal(layer(input)[0].values, layer(input, layer.initial_state(2))[0].values)


@one_or_two_ways
def test_output_size_and_state_structure(bidirectional: bool) -> None:
    layer = stack("lstm", 3, bidirectional=bidirectional)
    ways = 2 if bidirectional else 1
    assert layer.output_size == 4 * ways
    state = layer.initial_state(5)
    assert [[type(part).__name__ for part in row] for row in state] == [["LSTMState"] * ways] * 3
    assert all(part.shape == (5, 4) for part in leaves(state))


def test_dropout_acts_between_layers_while_training_only() -> None:
    torch.manual_seed(0)
    layer = Recurrent(CELLS["gru"], 3, 4, 2, dropout=0.9)
    single = Recurrent(CELLS["gru"], 3, 4, 1, dropout=0.9)
    input = Sequences.full(torch.randn(2, 6, 3))
    assert not torch.equal(layer(input)[0].values, layer(input)[0].values)
    assert torch.equal(single(input)[0].values, single(input)[0].values)
    layer.eval()
    assert torch.equal(layer(input)[0].values, layer(input)[0].values)


def test_nothing_is_kept_on_the_layer() -> None:
    layer = stack("lstm", 2)
    before = set(vars(layer)), [set(vars(cell)) for cells in layer.cells() for cell in cells], len(layer.state_dict())
    first = layer(batch([4, 2]))[0].values
    layer(batch([3], seed=1))
    assert torch.equal(layer(batch([4, 2]))[0].values, first)
    after = set(vars(layer)), [set(vars(cell)) for cells in layer.cells() for cell in cells], len(layer.state_dict())
    assert before == after
