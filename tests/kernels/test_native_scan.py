"""The native scan: as exact as the plain loop, and the same bits whatever stands around a row."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seqloom.cells.cell import Cell, LinearCell
from seqloom.cells.gru import GRU
from seqloom.cells.ind_rnn import IndRNN
from seqloom.cells.min_gru import MinGRU
from seqloom.errors import KernelError
from seqloom.kernels import choose, native, native_scan, reference, scan
from seqloom.kernels.native_scan import elementwise
from seqloom.layers.recurrent import Recurrent
from seqloom.lookup import find, names
from seqloom.sequences import Sequences

LIBRARY = native.library()
pytestmark = [
    pytest.mark.skipif(isinstance(LIBRARY, str), reason=str(LIBRARY)),
    pytest.mark.usefixtures("poisoned_and_put_back"),
]
SETS: list[str] = [] if isinstance(LIBRARY, str) else LIBRARY.instruction_sets()
LINEAR = [kind for kind in (find("cells", name, Cell) for name in names("cells")) if issubclass(kind, LinearCell)]
every_cell = pytest.mark.parametrize("kind", [*LINEAR, IndRNN])
every_set = pytest.mark.parametrize("instructions", SETS)
both = pytest.mark.parametrize("rectified", [False, True])


def coefficients(lengths: list[int], hidden: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """a, b with NaN on padding, the state before and the lengths."""
    random = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths, default=0) + 1, hidden)
    a, b = torch.rand(shape, generator=random), torch.randn(shape, generator=random)
    for row, length in enumerate(lengths):
        a[row, length:], b[row, length:] = float("nan"), float("nan")
    return a, b, torch.randn(len(lengths), hidden, generator=random), torch.tensor(lengths, dtype=torch.int64)


def one_by_one(a: Tensor, b: Tensor, h: Tensor, lengths: Tensor, rectified: bool) -> tuple[Tensor, Tensor]:
    """The definition."""
    found = []
    for t in range(a.shape[1]):
        valid = (t < lengths).unsqueeze(1)
        new = torch.where(valid, a[:, t], 0) * h + torch.where(valid, b[:, t], 0)
        h = torch.where(valid, new.relu() if rectified else new, h)
        found.append(torch.where(valid, h, 0))
    return torch.stack(found, dim=1), h


def with_gradients(scan_of: Any, a: Tensor, b: Tensor, h: Tensor, lengths: Tensor) -> list[Tensor]:
    """Outputs, final state and the gradients of a, b and h."""
    leaves = [part.detach().clone().requires_grad_() for part in (a, b, h)]
    parts = scan_of(*leaves, lengths)
    weights = [torch.linspace(0.5, 1.5, part.numel()).reshape(part.shape).to(part) for part in parts]
    loss = torch.stack([(part * weight).sum() for part, weight in zip(parts, weights, strict=True)]).sum()
    return [*(part.detach() for part in parts), *torch.autograd.grad(loss, leaves)]


@every_set
@both
@pytest.mark.parametrize("hidden", [1, 17, 70])
@pytest.mark.parametrize("lengths", [[5], [5, 0, 1, 3], [40, 17, 0, 40, 3], [0, 0], []], ids=str)
def test_it_is_one_step_after_another(instructions: str, rectified: bool, hidden: int, lengths: list[int]) -> None:
    LIBRARY.use(instructions)
    given_parts = coefficients(lengths, hidden)
    found = with_gradients(lambda *parts: elementwise(*parts, rectified=rectified), *given_parts)
    exact = [part.double() for part in given_parts[:3]]
    truth = with_gradients(lambda *parts: one_by_one(*parts, rectified), *exact, given_parts[3])
    for one, other in zip(found, truth, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)


@every_set
@both
@given(seed=st.integers(0, 2**16), data=st.data())
@settings(max_examples=8)
def test_bits_do_not_depend_on_neighbours_padding_chunks_or_threads(
    instructions: str, rectified: bool, seed: int, data: st.DataObject
) -> None:
    LIBRARY.use(instructions)
    lengths = data.draw(st.lists(st.integers(0, 12), min_size=1, max_size=9))
    a, b, h, ends = coefficients(lengths, data.draw(st.integers(1, 70)), seed)
    torch.set_num_threads(1)
    whole = with_gradients(lambda *parts: elementwise(*parts, rectified=rectified), a, b, h, ends)
    torch.set_num_threads(data.draw(st.integers(2, 4)))
    again = with_gradients(lambda *parts: elementwise(*parts, rectified=rectified), a, b, h, ends)
    assert all(torch.equal(one, other) for one, other in zip(again, whole, strict=True))
    row = data.draw(st.integers(0, len(lengths) - 1))
    alone = elementwise(a[row : row + 1], b[row : row + 1], h[row : row + 1], ends[row : row + 1], rectified=rectified)
    assert all(torch.equal(one[0], other[row]) for one, other in zip(alone, whole, strict=False))
    cut = data.draw(st.integers(0, a.shape[1]))
    before, middle = elementwise(a[:, :cut], b[:, :cut], h, ends.clamp(max=cut), rectified=rectified)
    after, final = elementwise(a[:, cut:], b[:, cut:], middle, (ends - cut).clamp(min=0), rectified=rectified)
    assert torch.equal(torch.cat([before, after], dim=1), whole[0])
    assert torch.equal(final, whole[1])


def problem(kind: type[Cell], lengths: list[int]) -> tuple[Cell, Sequences, Any]:
    """A cell, a batch with NaN on padding and a state."""
    torch.manual_seed(0)
    cell = kind(5, 19)
    values = torch.randn(len(lengths), max(lengths) + 1, 5)
    for row, length in enumerate(lengths):
        values[row, length:] = float("nan")
    state = cell.initial_state(len(lengths))
    return cell, Sequences(values, torch.tensor(lengths)), type(state)(torch.rand_like(state[0]))


def results(kernel: Any, cell: Cell, input: Sequences, state: Any) -> list[Tensor]:
    """Outputs, final state, and the gradients of input, state and weights."""
    values = input.values.detach().clone().requires_grad_()
    begin = type(state)(state[0].detach().clone().requires_grad_())
    output, final = kernel.run(cell, input.with_values(values), begin)
    weight = torch.linspace(0.5, 1.5, output.values.numel()).reshape(output.values.shape).to(output.values)
    loss = (output.values * weight).sum() + final[0].square().sum()
    gradients = torch.autograd.grad(loss, [values, begin[0], *cell.parameters()])
    return [output.values.detach(), final[0].detach(), *gradients]


@every_cell
@pytest.mark.parametrize("lengths", [[60] * 3, [60, 7, 0, 33]], ids=["full", "ragged"])
def test_cells_are_as_exact_as_in_the_plain_loop(kind: type[Cell], lengths: list[int]) -> None:
    """The error against float64 is at most four times that of the plain float32 loop, also with NaN on padding."""
    p = problem(kind, lengths)
    fast, plain = results(native_scan, *p), results(reference, *p)
    cell, input, state = p
    truths = results(reference, cell.double(), input.with_values(input.values.double()), type(state)(state[0].double()))
    for found, loop, truth in zip(fast, plain, truths, strict=True):
        unit = torch.finfo(torch.float32).eps * max(1.0, float(truth.abs().max()))
        assert float((found - truth).abs().max()) <= 4 * max(float((loop - truth).abs().max()), unit)


@every_cell
def test_the_native_scan_really_runs(kind: type[Cell], monkeypatch: pytest.MonkeyPatch) -> None:
    for other in (scan, reference):
        monkeypatch.setattr(other, "run", lambda *given: pytest.fail("another kernel ran"))
    before = LIBRARY.calls()
    layer = Recurrent(kind, 3, 4, num_layers=2, bidirectional=True)
    output, _ = layer(Sequences(torch.zeros(2, 3, 3), torch.tensor([3, 1])))
    output.values.sum().backward()
    assert LIBRARY.calls() == before + 4


def test_a_shared_by_steps_and_rows_of_any_layout() -> None:
    a, b, h, ends = coefficients([6, 6, 6], 9)
    a, b = torch.rand(9), b.nan_to_num()
    expected = elementwise(a.expand(b.shape).contiguous(), b, h, ends)
    by_steps = b.transpose(0, 1).contiguous().transpose(0, 1)
    every_other = torch.empty(*b.shape[:2], 18)[..., ::2].copy_(b)
    for values in (by_steps, every_other):
        found = elementwise(a.expand(b.shape), values, h.t().contiguous().t(), ends)
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    strided = torch.rand(7, 3, 18).transpose(0, 1)[..., ::2]
    assert torch.equal(elementwise(strided, b, h, ends)[0], elementwise(strided.contiguous(), b, h, ends)[0])


def test_under_automatic_casting_the_state_stays_float32() -> None:
    cell, input, state = problem(MinGRU, [9, 4])
    with torch.autocast("cpu", torch.bfloat16):
        assert choose(cell, input.with_values(input.values.bfloat16())).kernel is native_scan
        output, final = native_scan.run(cell, input, state)
    assert output.values.dtype == final[0].dtype == torch.float32


def test_changes_between_forward_and_backward_are_detected() -> None:
    a, b, h, ends = coefficients([4, 5], 3)
    output, _ = elementwise(a, b.requires_grad_(), h, ends)
    loss = output.sum()
    with torch.no_grad():
        output.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_the_operator_keeps_torchs_rules_and_makes_up_no_second_derivative() -> None:
    a, b, h, ends = coefficients([6, 6], 5)
    leaves = [part.nan_to_num().requires_grad_() for part in (a, b, h)]
    for rectified in (False, True):
        torch.library.opcheck(torch.ops.seqloom.scan.default, (*leaves, ends, rectified))
    output, _ = elementwise(*leaves, ends)
    (slope,) = torch.autograd.grad(output.square().sum(), leaves[0], create_graph=True)
    with pytest.raises(KernelError, match="no second derivative; use backend: scan or reference"):
        slope.sum().backward()


class Raised(MinGRU):
    """A cell of one's own whose outputs are never zero."""

    def readout(self, projected: Tensor, memory: Tensor) -> Tensor:
        return memory + 1


def test_outputs_on_padding_are_zero_whatever_is_read_out() -> None:
    cell, input, state = problem(Raised, [4, 0, 2])
    output, _ = native_scan.run(cell, input, state)
    assert torch.equal(output.values[input.padding_mask], torch.zeros(9, 19))
    assert (output.values[input.valid] != 0).all()


class Derived(IndRNN):
    """A cell that steps in its own way."""


def test_refusals_say_why() -> None:
    input = Sequences.full(torch.zeros(2, 3, 3))
    assert native_scan.why_not(GRU(3, 4), input) == "units of GRU see more than their own past"
    assert native_scan.why_not(Derived(3, 4), input) == "units of Derived see more than their own past"
    double = native_scan.why_not(MinGRU(3, 4).double(), input)
    assert double == "the native scan computes in float32, the batch is torch.float32 and the weights are torch.float64"
    meta = native_scan.why_not(MinGRU(3, 4).to("meta"), input)
    assert meta == "the native scan runs on the CPU, the batch is on cpu and the weights on meta"


def test_without_a_compiler_torchs_scan_runs(not_compiled: str) -> None:
    choice = choose(MinGRU(3, 4), Sequences.full(torch.zeros(2, 3, 3)))
    assert choice.kernel is scan
    assert choice.refusals["native_scan"] == not_compiled


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: torch.zeros(2, 5, 3)}, r"got a \(2, 5, 3\), b \(2, 6, 3\) and a state of \(2, 3\)"),
        ({2: torch.zeros(2, 4)}, r"a state of \(2, 4\); expected \(B, T, H\), \(B, T, H\) and \(B, H\)"),
        ({1: torch.zeros(2, 6, 3, dtype=torch.float64)}, "b torch.float64 and a state torch.float32; expected float32"),
        ({3: torch.tensor([7, 2])}, r"lengths are \[7, 2\]; expected 2 numbers, each in 0..6"),
        ({3: torch.tensor([7.0, 2.0])}, "lengths are torch.float32; expected int64"),
    ],
)
def test_what_does_not_fit_never_reaches_the_native_code(change: dict[int, Tensor], message: str) -> None:
    arguments = [torch.zeros(2, 6, 3), torch.zeros(2, 6, 3), torch.zeros(2, 3), torch.tensor([6, 2])]
    for place, tensor in change.items():
        arguments[place] = tensor
    with pytest.raises((ValueError, TypeError), match=message):
        torch.ops.seqloom.scan(*arguments, False)
