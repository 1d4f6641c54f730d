"""Live sequences in NumPy beside the whole sequence through `Recurrent`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from catalogue import CELLS, OWN_CELL
from seqloom.cells.cell import Cell
from seqloom.cells.gru import GRU
from seqloom.cells.lstm import LSTM
from seqloom.errors import KernelError, SavedFileError, StreamingError, UsageError
from seqloom.kernels.stepping import choose_step
from seqloom.layers.live import Live, LiveBatch, to_arrays
from seqloom.layers.recurrent import Recurrent
from seqloom.lookup import find
from seqloom.sequences import Sequences
from seqloom.state import map_state, select
from seqloom.wrappers import wrap

OPTIONS = {"learned_state": True, "recurrent_dropout": 0.4, "zoneout": 0.3}
FEATURES, HIDDEN = 3, 4
DOUBLE = ["numpy", "torch"]  # the native steps, float32 only, have tests of their own


@pytest.fixture(autouse=True, scope="module")
def doubles() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def stack(cell: str, **options: Any) -> Recurrent:
    torch.manual_seed(2)
    core = Recurrent(find("cells", cell, Cell), FEATURES, HIDDEN, num_layers=2, dropout=0.5, **options)
    for weight in core.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return core


def steps(count: int, rows: int = 1) -> Any:
    """Positive numbers, since some cells read elapsed time."""
    return np.random.default_rng(count).exponential(size=(rows, count, FEATURES))


def whole(core: Recurrent, values: Any, state: Any = None) -> tuple[Any, Any]:
    """Outputs and final state of rows read whole, in evaluation mode."""
    mode = core.training
    with torch.no_grad():
        output, final = core.eval()(Sequences.full(torch.from_numpy(values)), state)
    core.train(mode)
    return output.values.numpy(), final


def assert_same(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def assert_same_state(found: Any, expected: Any) -> None:
    map_state(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=1e-12) or a, found, expected)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_a_live_sequence_in_any_pieces_is_the_whole(cell: str, backend: str) -> None:
    core = stack(cell)
    values = steps(9)
    expected, final = whole(core, values)

    @settings(max_examples=5)
    @given(st.lists(st.integers(0, 9), max_size=4))
    def holds(edges: list[int]) -> None:
        live = Live(core, backend=backend)
        places = [0, *sorted(edges), 9]
        parts = [live.read(values[0, a:b]) for a, b in itertools.pairwise(places)]
        assert_same(np.concatenate(parts), expected[0])
        assert_same_state(live.state, final)

    holds()
    live = Live(core, backend=backend)
    assert_same(np.stack([live.step(x) for x in values[0]]), expected[0])


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != OWN_CELL])
def test_every_cell_of_the_package_runs_in_numpy(cell: str) -> None:
    assert Live(stack(cell)).stepper.backends == ["numpy", "numpy"]


@pytest.mark.parametrize("cell", ["gru", "lstm", OWN_CELL])
def test_options_of_cells_hold_in_evaluation_mode(cell: str) -> None:
    core = stack(cell, wrap=partial(wrap, **OPTIONS)).train()
    values = steps(6)
    expected, final = whole(core, values)
    live = Live(core)
    assert_same(live.read(values[0]), expected[0])
    assert_same_state(live.state, final)
    assert core.training


def test_no_operation_of_torch_runs_on_the_way() -> None:
    class Count(TorchDispatchMode):
        seen = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            Count.seen += 1
            return func(*args, **(kwargs or {}))

    values = steps(4, rows=2)
    for backend, expected in (("numpy", False), ("torch", True)):
        live, many = Live(stack("lstm"), backend=backend), LiveBatch(stack("lstm"), backend=backend)
        many.join("a")
        many.join("b")
        Count.seen = 0
        with Count():
            live.read(values[0])
            live.step(values[0, 0])
            many.step({"a": values[0, 0], "b": values[1, 0]})
        assert (Count.seen > 0) is expected


@pytest.mark.parametrize("cell", ["lstm", "slstm", OWN_CELL])
def test_many_sequences_come_and_go(cell: str, seed: int) -> None:
    """Each gives what it gives alone, whoever else has a step; one that left goes on elsewhere."""
    core = stack(cell)
    random = np.random.default_rng(seed)
    values = steps(12, rows=20)
    expected, _ = whole(core, values)
    many, read = LiveBatch(core), dict.fromkeys(range(20), 0)
    for name in range(20):
        many.join(name)
    assert len(many) == 20
    for turn in range(30):
        chosen = [name for name in range(20) if read[name] < 12 and random.random() < 0.5]
        random.shuffle(chosen)
        found = many.step({name: values[name, read[name]] for name in chosen})
        for name in chosen:
            assert_same(found[name], expected[name, read[name]])
            read[name] += 1
        if turn % 5 == 0:
            name = int(random.integers(20))
            kept = many.leave(name)
            assert name not in many
            many.join(("another", turn))
            many.join(name, kept)
            assert_same_state(many.leave(("another", turn)), core.eval().initial_state(1))


def test_a_row_of_names_and_an_array() -> None:
    many = LiveBatch(stack("gru"))
    for name in "abc":
        many.join(name)
    values = steps(2, rows=3)
    expected, final = whole(stack("gru"), values)
    many.step_rows("cab", values[[2, 0, 1], 0])
    assert_same(many.step_rows("abc", values[:, 1]), expected[:, 1])
    assert_same_state(many.state("b"), select(final, [1]))
    assert many.step({}) == {}


def test_the_state_is_a_value() -> None:
    core = stack("lstm")
    values = steps(8)[0]
    live = Live(core)
    live.read(values[:4])
    kept, saved = live.state, live.to_bytes()
    first = live.read(values[4:])
    assert_same_state(kept, whole(core, values[None, :4])[1])  # later steps have not changed it
    live.state = kept
    assert np.array_equal(live.read(values[4:]), first)
    other = Live(core)
    other.from_bytes(saved)
    assert np.array_equal(other.read(values[4:]), first)
    assert all(np.array_equal(a, b) for a, b in zip(to_arrays(live.state), to_arrays(other.state), strict=True))


def test_weights_are_those_of_the_moment() -> None:
    core = stack("lstm")
    values = steps(5)[0]
    expected = Live(core).read(values)
    for backend in DOUBLE:
        live = Live(core, backend=backend)
        with torch.no_grad():
            for weight in core.parameters():
                weight.mul_(2)
        assert_same(live.read(values), expected)
        core = stack("lstm")


def test_an_array_that_may_not_be_written_is_read() -> None:
    values = steps(3)[0]
    values.flags.writeable = False
    for backend in DOUBLE:
        assert_same(Live(stack("gru"), backend=backend).read(values), whole(stack("gru"), values[None].copy())[0][0])


def test_float32_stays_float32() -> None:
    core = stack("gru").float()
    made = Live(core).read(steps(3)[0])
    assert made.dtype == np.float32
    with torch.no_grad():
        expected, _ = core.eval()(Sequences.full(torch.from_numpy(steps(3)).float()))
    np.testing.assert_allclose(made, expected.values[0].numpy(), rtol=0, atol=1e-6)


class Silent(GRU):
    """A cell that steps differently from what it is derived from."""

    def step(self, projected: Any, state: Any) -> Any:
        return torch.zeros_like(state.h), state


def test_a_derived_cell_does_not_run_by_the_equations_of_its_parent() -> None:
    choice = choose_step(Silent(FEATURES, HIDDEN))
    assert choice.name == "torch"
    assert choice.refusals["numpy"] == "Silent has no equations of its own"
    with pytest.raises(KernelError, match="'numpy' cannot run single steps: Silent has no equations of its own; use"):
        choose_step(Silent(FEATURES, HIDDEN), "numpy")
    with pytest.raises(KernelError, match="no 'cuda' runs single steps; expected auto or one of native, numpy, torch"):
        choose_step(Silent(FEATURES, HIDDEN), "cuda")


def test_wrong_calls_say_what_is_expected() -> None:
    with pytest.raises(StreamingError, match=r"reads each sequence backwards too \(bidirectional=True\)"):
        Live(Recurrent(LSTM, FEATURES, HIDDEN, bidirectional=True))
    live, many = Live(stack("lstm")), LiveBatch(stack("lstm"))
    with pytest.raises(UsageError, match=r"the input has shape \(2,\); expected \(3\)"):
        live.step(np.zeros(2))
    with pytest.raises(UsageError, match=r"the input has shape \(3,\); expected \(T, 3\)"):
        live.read(np.zeros(3))
    with pytest.raises(UsageError, match=r"states differ at 0\.0: GRUState and LSTMState"):
        live.state = stack("gru").initial_state(1)
    with pytest.raises(UsageError, match=r"the state has a part of shape \(2, 4\); expected \(1, 4\): one row"):
        live.state = stack("lstm").initial_state(2)
    with pytest.raises(SavedFileError):
        live.from_bytes(b"nothing")
    with pytest.raises(UsageError, match=r"no sequence 'a' has joined \(0 have\); call join\('a'\) first"):
        many.step({"a": np.zeros(3)})
    many.join("a")
    with pytest.raises(UsageError, match="a sequence 'a' has joined already"):
        many.join("a")
    with pytest.raises(UsageError, match="expected one step for each, each name once"):
        many.step_rows(["a", "a"], np.zeros((2, 3)))
