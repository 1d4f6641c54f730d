"""The native kernels: as exact as the plain loop, and the same bits whatever stands around a row."""

from __future__ import annotations

import copy
import multiprocessing
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from statistics import median
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seqloom.cells.cell import Cell
from seqloom.cells.gru import GRU
from seqloom.cells.layer_norm_gru import LayerNormGRU
from seqloom.cells.layer_norm_lstm import LayerNormLSTM
from seqloom.cells.lstm import LSTM
from seqloom.errors import KernelError
from seqloom.kernels import choose, native, reference
from seqloom.kernels.backwards import backwards
from seqloom.layers.live import Live, LiveBatch, rounding
from seqloom.layers.recurrent import Recurrent
from seqloom.sequences import Sequences

LIBRARY = native.library()
pytestmark = [
    pytest.mark.skipif(isinstance(LIBRARY, str), reason=str(LIBRARY)),
    pytest.mark.usefixtures("poisoned_and_put_back"),
]
SETS: list[str] = [] if isinstance(LIBRARY, str) else LIBRARY.instruction_sets()
CELLS = list(native.CELLS)
every_cell = pytest.mark.parametrize("kind", CELLS)
every_set = pytest.mark.parametrize("instructions", SETS)
# Training goes through the processor's tiles where the fastest set has them.
every_way = pytest.mark.parametrize("way", [*SETS, "tiles"] if SETS and LIBRARY.tiles() else SETS)
both_modes = pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
both_numbers = pytest.mark.parametrize("low", [False, True], ids=["float32", "bfloat16"])


def use(way: str, cell: Cell) -> None:
    """An instruction set without tiles, or the fastest one with them, whatever the number of rows."""
    LIBRARY.use(SETS[0] if way == "tiles" else way)
    cell.train(way == "tiles")
    native.ROWS_FOR_TILES = 0


@contextmanager
def arithmetic(low: bool) -> Iterator[None]:
    """Products of float32, or of bfloat16, whether that pays on this processor or not."""
    with torch.autocast("cpu", torch.bfloat16, enabled=low), patch.object(native, "bfloat16_pays", lambda: True):
        yield


class Problem(NamedTuple):
    """A cell in float32, a batch with NaN on padding, and a state."""

    cell: Cell
    input: Sequences
    state: Any


def problem(kind: type[Cell], lengths: list[int], sizes: tuple[int, int], *, extra: int = 1, seed: int = 0) -> Problem:
    torch.manual_seed(seed)
    cell = kind(*sizes)
    values = torch.randn(len(lengths), max(lengths, default=0) + extra, sizes[0])
    for row, length in enumerate(lengths):
        values[row, length:] = float("nan")
    with torch.no_grad():  # a state that the cell can be in: that of other rows, a few steps on
        earlier = Sequences.full(torch.randn(len(lengths), 3, sizes[0]))
        _, state = reference.run(cell, earlier, cell.initial_state(len(lengths)))
    return Problem(cell, Sequences(values, torch.tensor(lengths, dtype=torch.int64)), state)


def results(kernel: Any, cell: Cell, input: Sequences, state: Any) -> list[Tensor]:
    """Outputs, final state, and the gradients of input, state and weights under a loss that weighs all differently."""
    values = input.values.detach().clone().requires_grad_()
    begin = type(state)(*(part.detach().clone().requires_grad_() for part in state))
    output, final = kernel.run(cell, input.with_values(values), begin)
    parts = [output.values, *final]
    weights = [torch.linspace(0.5, 1.5, part.numel()).reshape(part.shape).to(part) for part in parts]
    loss = torch.stack([(part * weight).sum() for part, weight in zip(parts, weights, strict=True)]).sum()
    gradients = torch.autograd.grad(loss, [values, *begin, *cell.parameters()])
    return [part.detach() for part in parts] + list(gradients)


def outputs(p: Problem, rows: slice = slice(None), steps: slice = slice(None), state: Any = None) -> list[Tensor]:
    """Outputs and final state of some rows and steps, without gradients."""
    first = steps.start or 0
    values = p.input.values[rows, steps]
    lengths = (p.input.lengths[rows] - first).clamp(0, values.shape[1])
    before = type(p.state)(*(part[rows] for part in p.state)) if state is None else state
    with torch.no_grad():
        output, final = native.run(p.cell, Sequences(values, lengths), before)
    return [output.values, *final]


LENGTHS = {
    "one row": [7],
    "odd": [5, 0, 1, 3],
    "many": [40, 17, 0, 40, 3, 1, 22, 9, 31],
    "none": [],
    "empty rows": [0, 0],
}


# Norms amplify rounding, now and then a lot, so that in one draw it is chance which of two loops comes out nearer to
# the truth. Of several draws the median is compared.
DRAWS = {LayerNormLSTM: 5, LayerNormGRU: 5}


def largest(error: Tensor) -> float:
    """Its size at the worst place; zero of nothing."""
    return float(error.abs().max()) if error.numel() else 0.0


@cache
def yardstick(
    kind: type[Cell], lengths: tuple[int, ...], sizes: tuple[int, int], seed: int
) -> tuple[Problem, list[Tensor], list[float]]:
    """A problem, its results in float64, and the errors of the plain float32 loop, each at least one rounding."""
    p = problem(kind, list(lengths), sizes, seed=seed)
    plain, cell = results(reference, *p), copy.deepcopy(p.cell).double()
    state = type(p.state)(*(part.double() for part in p.state))
    truths = results(reference, cell, p.input.with_values(p.input.values.double()), state)
    units = [torch.finfo(torch.float32).eps * max(1.0, largest(truth)) for truth in truths]
    return p, truths, [max(largest(a - b), unit) for a, b, unit in zip(plain, truths, units, strict=True)]


@every_way
@every_cell
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("sizes", [(3, 1), (1, 17), (63, 70)], ids=str)
def test_as_exact_as_the_plain_loop(way: str, kind: type[Cell], lengths: list[int], sizes: tuple[int, int]) -> None:
    """The error against float64 is at most four times that of the plain float32 loop."""
    if kind in DRAWS and sizes[0] == 1:  # a norm undoes the size of a lone feature: its gradient is rounding alone
        sizes = (2, sizes[1])
    wrong, allowed = [], []
    for seed in range(DRAWS.get(kind, 1)):
        p, truths, loops = yardstick(kind, tuple(lengths), sizes, seed)
        use(way, p.cell)
        fast = results(native, *p)
        assert [found.shape for found in fast] == [truth.shape for truth in truths]
        wrong.append([largest(found - truth) for found, truth in zip(fast, truths, strict=True)])
        allowed.append(loops)
    for found, loop in zip(zip(*wrong, strict=True), zip(*allowed, strict=True), strict=True):
        assert median(found) <= 4 * median(loop)


@every_way
@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_many_rows_and_long_ones_are_as_exact(way: str, kind: type[Cell]) -> None:
    """More rows than are multiplied together, and rows that are summed in several stretches."""
    p, truths, loops = yardstick(kind, (*[3, 1, 4, 0, 2] * 20, 5), (530, 140), 0)
    use(way, p.cell)
    for found, truth, loop in zip(results(native, *p), truths, loops, strict=True):
        assert largest(found - truth) <= 4 * loop


@every_way
@every_cell
def test_without_features_only_the_past_counts(way: str, kind: type[Cell]) -> None:
    p, truths, loops = yardstick(kind, (4, 0, 2), (0, 5), 0)
    use(way, p.cell)
    for found, truth, loop in zip(results(native, *p), truths, loops, strict=True):
        assert largest(found - truth) <= 4 * loop


@pytest.mark.skipif(not (SETS and LIBRARY.tiles()), reason="this processor has no tiles")
def test_tiles_are_given_back() -> None:
    """torch's own products in bfloat16 use them too, in another shape."""
    p = problem(GRU, [6, 3] * 10, (70, 50))
    use("tiles", p.cell)
    torch.set_num_threads(1)
    alone = results(native, *p)
    for rows in (1, 40):
        product = torch.randn(rows, 256).bfloat16() @ torch.randn(256, 256).bfloat16()
        assert product.isfinite().all()
        assert all(torch.equal(a, b) for a, b in zip(results(native, *p), alone, strict=True))


@pytest.mark.skipif(not (SETS and LIBRARY.tiles()), reason="this processor has no tiles")
def test_training_goes_through_tiles_and_evaluation_does_not() -> None:
    p = problem(LSTM, [5, 2] * 8, (7, 9))
    trained, few = outputs(p), outputs(p, slice(0, 15))
    evaluated = outputs(Problem(copy.deepcopy(p.cell).eval(), p.input, p.state))
    assert not torch.equal(trained[0], evaluated[0])
    assert largest(trained[0] - evaluated[0]) < 1e-6
    assert torch.equal(few[0], evaluated[0][:15])
    label = "native, with 16 rows or more in training through the processor's tiles"
    assert choose(p.cell, p.input).label == label
    LIBRARY.use(SETS[1])
    assert not LIBRARY.tiles()
    assert choose(p.cell, p.input).label == "native"
    weights, state = [*p.cell.parameters(), torch.zeros(0)], torch.stack(list(p.state))
    with pytest.raises(ValueError, match=r"layers multiply one of .*BFLOAT16.* here, got 3"):
        native.layer(0, p.input.values, p.input.lengths, weights, state, numbers=native.Numbers.FLOAT32_TILES)


@every_way
@every_cell
@pytest.mark.parametrize("bits", [0x7FC00000, -1, 0x7FFFFFFF, 0x7F800001, 0x7F800000], ids=hex)
def test_what_is_no_number_is_never_lost(way: str, kind: type[Cell], bits: int) -> None:
    """NaN of any bits; and infinity spoils no other row or earlier step."""
    p = problem(kind, [5, 5], (7, 9))
    use(way, p.cell)
    p.input.values[0, 2, 3] = torch.tensor([bits], dtype=torch.int32).view(torch.float32)
    output = outputs(p)[0]
    assert output[0, :2].isfinite().all()
    assert output[1, :5].isfinite().all()
    if p.input.values[0, 2, 3].isnan():
        assert output[0, 2:5].isnan().all()


@every_way
@every_cell
@pytest.mark.parametrize("lengths", [LENGTHS["odd"], LENGTHS["many"]], ids=["odd", "many"])
@pytest.mark.parametrize("sizes", [(1, 17), (63, 70)], ids=str)
def test_bfloat16_is_as_exact_as_the_plain_loop_with_it(
    way: str, kind: type[Cell], lengths: list[int], sizes: tuple[int, int]
) -> None:
    """Within four times that loop's error, and not the results of float32."""
    if kind in DRAWS and sizes[0] == 1:
        sizes = (2, sizes[1])
    wrong, allowed = [], []
    for seed in range(5):
        p, truths, _ = yardstick(kind, tuple(lengths), sizes, seed)
        use(way, p.cell)
        with arithmetic(True):
            fast, plain = results(native, *p), results(reference, *p)
        units = [torch.finfo(torch.bfloat16).eps * max(1.0, largest(truth)) for truth in truths]
        wrong.append([largest(found - truth) for found, truth in zip(fast, truths, strict=True)])
        allowed.append([max(largest(a - b), unit) for a, b, unit in zip(plain, truths, units, strict=True)])
    for found, loop in zip(zip(*wrong, strict=True), zip(*allowed, strict=True), strict=True):
        assert median(found) <= 4 * median(loop)
    assert any(not torch.equal(a, b) for a, b in zip(fast, results(native, *p), strict=True))


@every_way
@every_cell
@both_numbers
@given(seed=st.integers(0, 2**16), data=st.data())
@settings(max_examples=8)
def test_bits_do_not_depend_on_neighbours_padding_chunks_or_threads(
    way: str, kind: type[Cell], low: bool, seed: int, data: st.DataObject
) -> None:
    with arithmetic(low):
        check_bits(way, kind, seed, data)


def check_bits(way: str, kind: type[Cell], seed: int, data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(0, 12), min_size=1, max_size=9))
    sizes = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 70)))
    p = problem(kind, lengths, sizes, seed=seed)
    use(way, p.cell)
    torch.set_num_threads(1)
    whole = outputs(p)
    torch.set_num_threads(data.draw(st.integers(2, 4)))
    assert all(torch.equal(a, b) for a, b in zip(outputs(p), whole, strict=True))
    row = data.draw(st.integers(0, len(lengths) - 1))
    for found, expected in zip(outputs(p, slice(row, row + 1)), whole, strict=True):
        assert torch.equal(found[0], expected[row])
    cut = data.draw(st.integers(0, p.input.values.shape[1]))
    before, *middle = outputs(p, steps=slice(0, cut))
    after, *final = outputs(p, steps=slice(cut, None), state=type(p.state)(*middle))
    assert torch.equal(torch.cat([before, after], dim=1), whole[0])
    assert all(torch.equal(a, b) for a, b in zip(final, whole[1:], strict=True))


whose_threads = pytest.mark.parametrize("own_pool", [False, True], ids=["torch's threads", "own pool"])


@every_cell
@whose_threads
@both_numbers
@both_modes
@pytest.mark.parametrize("rows", [1, 3, 20])
def test_gradients_do_not_depend_on_threads(
    kind: type[Cell], rows: int, training: bool, low: bool, own_pool: bool
) -> None:
    """256 units and few rows: here threads share the units of a step and meet after it."""
    LIBRARY.use_own_pool(own_pool)
    p = problem(kind, [9, 4, 0, 7, 9][:rows] * (rows // 5 or 1), (30, 256))
    use("tiles" if training else SETS[0], p.cell)
    torch.set_num_threads(1)
    with arithmetic(low):
        alone = results(native, *p)
        for threads in (2, 3):
            torch.set_num_threads(threads)
            assert all(torch.equal(a, b) for a, b in zip(results(native, *p), alone, strict=True))


def test_the_fast_kernel_really_runs() -> None:
    layer = Recurrent(GRU, 3, 8, 2)
    before = LIBRARY.calls()
    layer(Sequences.full(torch.randn(2, 5, 3)))
    assert LIBRARY.calls() == before + 2


@every_cell
def test_strided_and_misaligned_inputs(kind: type[Cell]) -> None:
    p = problem(kind, [6, 2, 5], (7, 9), extra=0)
    expected = results(native, *p)
    by_steps = p.input.values.transpose(0, 1).contiguous().transpose(0, 1)
    every_other = torch.empty(*p.input.values.shape[:2], 14)[..., ::2].copy_(p.input.values)
    shifted = torch.empty(p.input.values.numel() + 1)[1:].view_as(p.input.values).copy_(p.input.values)
    for values in (by_steps, every_other, shifted):
        assert torch.equal(values.nan_to_num(), p.input.values.nan_to_num())
        with torch.no_grad():
            output, final = native.run(p.cell, p.input.with_values(values), p.state)
        assert all(torch.equal(a, b) for a, b in zip([output.values, *final], expected, strict=False))


@every_cell
def test_reading_from_the_ends_is_reading_turned_rows(kind: type[Cell]) -> None:
    p = problem(kind, [6, 0, 1, 5], (7, 9))
    turned = SimpleNamespace(run=partial(backwards, native.run))
    from_end = SimpleNamespace(run=partial(native.run, reverse=True))
    for a, b in zip(results(from_end, *p), results(turned, *p), strict=True):
        assert torch.equal(a, b)


def test_a_gradient_of_any_layout_is_read() -> None:
    p = problem(LSTM, [4, 6], (3, 5), extra=0)
    values = p.input.values.nan_to_num().requires_grad_()
    output, _ = native.run(p.cell, p.input.with_values(values), p.state)
    slopes = torch.randn(5, 6, 2).permute(2, 1, 0)
    found = torch.autograd.grad(output.values, values, slopes, retain_graph=True)[0]
    assert torch.equal(found, torch.autograd.grad(output.values, values, slopes.contiguous(), retain_graph=True)[0])
    # A sum's gradient is one number seen everywhere, with strides of zero.
    summed = torch.autograd.grad(output.values.sum(), values, retain_graph=True)[0]
    assert torch.equal(summed, torch.autograd.grad(output.values, values, torch.ones(2, 6, 5))[0])


@pytest.mark.parametrize("which", ["weight", "output"])
def test_changes_between_forward_and_backward_are_detected(which: str) -> None:
    p = problem(LSTM, [4, 6], (3, 5), extra=0)
    output, _ = native.run(p.cell, p.input.with_values(p.input.values.nan_to_num()), p.state)
    loss = output.values.sum()
    changed = p.cell.get_parameter("weight_hh") if which == "weight" else output.values
    with torch.no_grad():
        changed.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_the_graph_may_be_walked_twice_and_no_second_derivative_is_made_up() -> None:
    p = problem(GRU, [4, 6], (3, 5), extra=0)
    values = p.input.values.nan_to_num().requires_grad_()
    output, _ = native.run(p.cell, p.input.with_values(values), p.state)
    loss = output.values.square().sum()
    first = torch.autograd.grad(loss, values, retain_graph=True)[0]
    assert torch.equal(torch.autograd.grad(loss, values, create_graph=True)[0], first)
    (slope,) = torch.autograd.grad(loss, values, create_graph=True)
    with pytest.raises(KernelError, match="no second derivative; use backend: reference"):
        slope.sum().backward()


def test_the_operators_keep_torchs_rules() -> None:
    """Schema, fake tensors, autograd registration and tracing, as `torch.library.opcheck` sees them."""
    for kind in (LSTM, GRU):
        p = problem(kind, [6, 6], (3, 5), extra=0)  # of padding nothing is kept for the way back
        known = native.CELLS[kind]
        weights = [w.detach().clone().requires_grad_() for w in p.cell.parameters()]
        values = p.input.values.nan_to_num().requires_grad_()
        arguments = (values, p.input.lengths, *weights, torch.zeros(0), torch.stack(list(p.state)), known.number, 0)
        torch.library.opcheck(torch.ops.seqloom.recurrence.default, (*arguments, False, True))
        torch.library.opcheck(torch.ops.seqloom.recurrence.default, (*arguments, True, True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({1: torch.tensor([7, 2])}, r"lengths are \[7, 2\]; expected 2 numbers, each in 0..6"),
        ({1: torch.tensor([3])}, r"lengths are \[3\]; expected 2 numbers"),
        ({2: torch.zeros(20, 4)}, r"weights of shapes \[\(20, 4\), \(20, 5\)"),
        ({7: torch.zeros(2, 3, 5)}, r"a state of \(2, 3, 5\) do not fit x \(2, 6, 3\)"),
        ({0: torch.zeros(2, 6, 3, dtype=torch.float64)}, "must be float32"),
    ],
)
def test_what_does_not_fit_never_reaches_the_native_code(change: dict[int, Tensor], message: str) -> None:
    p = problem(LSTM, [6, 6], (3, 5), extra=0)
    arguments = [p.input.values, p.input.lengths, *p.cell.parameters(), torch.zeros(0), torch.stack(list(p.state))]
    for place, tensor in change.items():
        arguments[place] = tensor
    with pytest.raises((ValueError, TypeError), match=message):
        torch.ops.seqloom.recurrence(*arguments, 0, 0, False, False)


def test_compile_keeps_a_layer_whole() -> None:
    layer = Recurrent(LSTM, 3, 8, 2)
    batch, lengths = torch.randn(2, 5, 3), torch.tensor([5, 2])

    def run(values: Tensor) -> Tensor:
        state = torch.stack(list(layer.cells()[0][0].initial_state(2)))
        cell = layer.cells()[0][0]
        weights = (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh, values.new_zeros(0))
        output: Tensor
        output, *_ = torch.ops.seqloom.recurrence(values, lengths, *weights, state, 0, 0, False, True)
        return output * 2

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    found, expected = compiled(batch), run(batch)
    assert torch.equal(found, expected)
    found.sum().backward()
    assert layer.cells()[0][0].weight_ih.grad is not None


def _forked(p: Problem, expected: list[Tensor], answer: Any) -> None:
    answer.put(all(torch.equal(a, b) for a, b in zip(outputs(p), expected, strict=True)))


@whose_threads
def test_a_forked_process_and_two_threads_get_the_same(own_pool: bool) -> None:
    LIBRARY.use_own_pool(own_pool)
    p = problem(LSTM, [30, 12, 25, 8, 30, 2, 9, 9], (20, 64), extra=0)
    torch.set_num_threads(2)
    expected = outputs(p)
    context = multiprocessing.get_context("fork")
    answer = context.Queue()
    child = context.Process(target=_forked, args=(p, expected, answer))
    child.start()
    assert answer.get(timeout=60)
    child.join(timeout=60)
    assert child.exitcode == 0
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(20):
            if not all(torch.equal(a, b) for a, b in zip(outputs(p), expected, strict=True)):
                wrong.append(number)

    workers = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert wrong == []


def test_denormals_cost_nothing_special() -> None:
    """Tiny numbers are taken for zero inside the kernels, and only there."""
    p = problem(LSTM, [3], (2, 4), extra=0)
    outputs(p)
    assert float(torch.tensor(1e-40) * 0.5) > 0


class Derived(GRU):
    """A cell that steps in its own way."""


def test_refusals_say_why() -> None:
    p = problem(GRU, [3], (2, 4))
    refused = native.why_not(p.cell.double(), p.input.with_values(p.input.values.double()))
    assert refused is not None
    assert "compute in float32, the batch is torch.float64" in refused
    p.cell.float()
    assert native.why_not(Derived(2, 4), p.input) == "the native kernels do not know Derived"
    meta = native.why_not(p.cell.to("meta"), p.input)
    assert meta is not None
    assert "run on the CPU" in meta
    with pytest.raises(ValueError, match="no instruction set 'sse9' here"):
        LIBRARY.use("sse9")


def test_without_a_compiler_others_run_and_say_so(not_compiled: str) -> None:
    p = problem(GRU, [3], (2, 4))
    choice = choose(p.cell, p.input)
    assert choice.name == "fused"
    assert choice.refusals["native"] == not_compiled
    with pytest.raises(KernelError, match=f"'native' cannot run: {not_compiled}"):
        choose(p.cell, p.input, "native")


def test_a_compiler_at_hand_was_used() -> None:
    """Where this test runs the kernels exist, and each instruction set of the machine is reachable."""
    assert SETS[-1] in {"portable", "neon"}
    for name in SETS:
        LIBRARY.use(name)
        assert LIBRARY.instruction_set() == name


@every_cell
def test_live_steps_are_the_whole_to_the_bit(kind: type[Cell]) -> None:
    """Two layers, step by step and for several sequences at once."""
    torch.manual_seed(1)
    core = Recurrent(kind, 5, 33, 2).eval()
    values = torch.randn(3, 9, 5)
    with torch.no_grad():
        whole = core(Sequences.full(values))[0].values.numpy()
    live = Live(core)
    assert live.stepper.backends == ["native", "native"]
    assert np.array_equal(live.read(values[0].numpy()), whole[0])
    many = LiveBatch(core)
    for name in range(3):
        many.join(name)
    for t in range(9):
        found = many.step_rows([2, 0, 1], values[[2, 0, 1], t].numpy())
        assert np.array_equal(found, whole[[2, 0, 1], t])


@every_way
def test_bfloat16_is_used_within_automatic_casting_where_it_pays(way: str) -> None:
    p = problem(LSTM, [5, 2], (7, 9))
    use(way, p.cell)
    full = outputs(p)
    with torch.autocast("cpu", torch.bfloat16):
        cast = outputs(p)
    with arithmetic(True):
        low = outputs(p)
    assert not torch.equal(low[0], full[0])
    assert torch.equal(cast[0], low[0] if way == "tiles" or LIBRARY.bfloat16_pays() else full[0])


@every_set
@every_cell
def test_live_steps_in_bfloat16_are_the_whole_to_the_bit(instructions: str, kind: type[Cell]) -> None:
    """And they differ from those of float32 by about the rounding of what is multiplied."""
    LIBRARY.use(instructions)
    torch.manual_seed(3)
    core = Recurrent(kind, 21, 40, 2).eval()
    steps = torch.randn(12, 21)
    live = Live(core, backend="bfloat16")
    assert live.stepper.backends == ["bfloat16", "bfloat16"]
    with torch.no_grad(), arithmetic(True):
        whole = core(Sequences.full(steps.unsqueeze(0)))[0].values[0].numpy()
    assert np.array_equal(live.read(steps.numpy()), whole)
    found = rounding(core, steps.numpy(), "bfloat16")
    assert 0 < found.typical <= found.largest
    assert 1e-5 < found.share < 2.0**-5


@every_set
@every_cell
def test_weights_in_eight_bits_are_rounded_and_little_else_is(instructions: str, kind: type[Cell]) -> None:
    """Off by about their rounding, and far less from the full arithmetic on weights that were rounded beforehand."""
    LIBRARY.use(instructions)
    torch.manual_seed(3)
    core = Recurrent(kind, 21, 40).eval()
    steps = torch.randn(12, 21)
    live = Live(core, backend="int8")
    assert live.stepper.backends == ["int8"]
    rounded = copy.deepcopy(core)
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh"):
            weight = rounded.cells()[0][0].get_parameter(name)
            scale = weight.abs().amax(dim=1, keepdim=True) / 127
            weight.copy_((weight / scale).round() * scale)
    answers, full = live.read(steps.numpy()), Live(core).read(steps.numpy())
    assert np.abs(answers - Live(rounded).read(steps.numpy())).max() < np.abs(answers - full).max() / 10
    found = rounding(core, steps.numpy(), "int8")
    assert 0 < found.typical <= found.largest
    assert 1e-5 < found.share < 4 / 127
    broken = steps.clone()
    broken[3, 5] = float("nan")
    heard = np.isnan(live.read(broken.numpy())).any(axis=1)
    assert heard.tolist() == [False] * 3 + [True] * 9
