"""All kernels agree with the plain scan: outputs, final states and every gradient."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seqloom.cells.cell import Cell
from seqloom.cells.gru import GRU
from seqloom.cells.min_gru import MinGRU
from seqloom.errors import KernelError
from seqloom.kernels import KERNELS, choose, fused, reference
from seqloom.layers.recurrent import Recurrent
from seqloom.lookup import find, names
from seqloom.sequences import Sequences

CELLS = [find("cells", name, Cell) for name in names("cells")]
FAST = [kernel for kernel in KERNELS.values() if kernel is not reference]
laws = settings(max_examples=12, deadline=None, derandomize=True)
every_cell = pytest.mark.parametrize("kind", CELLS)
some_lengths = st.one_of(
    st.lists(st.integers(0, 6), min_size=1, max_size=4).filter(any),
    st.integers(1, 6).flatmap(lambda T: st.lists(st.just(T), min_size=1, max_size=3)),
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost ten times more than these small products."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Run(NamedTuple):
    """What a kernel gave: outputs, final state, gradients of input, initial state and weights."""

    output: Tensor
    final: tuple[Tensor, ...]
    gradients: tuple[Tensor, ...]


def problem(kind: type[Cell], lengths: list[int], *, extra: int = 0, padding: float = float("nan")) -> Any:
    """A cell, its input and a random state, all float64."""
    torch.manual_seed(len(lengths) + sum(lengths))
    cell = kind(3, 4).double()
    values = torch.randn(len(lengths), max(lengths) + extra, 3, dtype=torch.float64)
    for row, length in enumerate(lengths):
        values[row, length:] = padding
    state = cell.initial_state(len(lengths))
    state = type(state)(*(torch.randn_like(part) for part in state))
    return cell, Sequences(values, torch.tensor(lengths)), state


def run(kernel: ModuleType, cell: Cell, input: Sequences, state: Any) -> Run:
    """Forward and backward with a loss that weighs every number differently."""
    values = input.values.detach().clone().requires_grad_()
    begin = type(state)(*(part.detach().clone().requires_grad_() for part in state))
    output, final = kernel.run(cell, input.with_values(values), begin)
    assert torch.equal(output.lengths, input.lengths)
    parts = [output.values, *final]
    weights = [torch.linspace(0.5, 1.5, part.numel()).reshape(part.shape).to(part) for part in parts]
    loss = torch.stack([(part * weight).sum() for part, weight in zip(parts, weights, strict=True)]).sum()
    gradients = torch.autograd.grad(loss, [values, *begin, *cell.parameters()])
    return Run(output.values.detach(), tuple(part.detach() for part in final), gradients)


def flat(found: Run) -> list[Tensor]:
    return [found.output, *found.final, *found.gradients]


@pytest.mark.parametrize("kernel", FAST)
@every_cell
@laws
@given(lengths=some_lengths, extra=st.integers(0, 2))
def test_kernels_agree_in_float64(kernel: ModuleType, kind: type[Cell], lengths: list[int], extra: int) -> None:
    cell, input, state = problem(kind, lengths, extra=extra)
    if kernel.why_not(cell, input) is not None:
        return
    for found, expected in zip(
        flat(run(kernel, cell, input, state)), flat(run(reference, cell, input, state)), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("kernel", FAST)
@pytest.mark.parametrize("lengths", [[40] * 3, [40, 0, 1, 23]])
@every_cell
def test_fast_float32_is_as_good_as_plain_float32(kernel: ModuleType, kind: type[Cell], lengths: list[int]) -> None:
    """Errors against float64 truth, as a share of the largest number of each result."""
    cell, input, state = problem(kind, lengths)
    if kernel.why_not(cell, input) is not None:
        return
    truth = flat(run(reference, cell, input, state))
    cell, single = cell.float(), input.with_values(input.values.float())
    state = type(state)(*(part.float() for part in state))
    plain = flat(run(reference, cell, single, state))
    fast = flat(run(kernel, cell, single, state))
    for exact, slow, quick in zip(truth, plain, fast, strict=True):
        scale = float(exact.abs().max())
        floor = torch.finfo(torch.float32).eps * scale
        assert float((quick - exact).abs().max()) <= 4 * max(float((slow - exact).abs().max()), floor)


@pytest.mark.parametrize("kernel", KERNELS.values())
@every_cell
@laws
@given(lengths=some_lengths, extra=st.integers(0, 2), padding=st.sampled_from([float("nan"), float("inf"), -7.0]))
def test_padding_is_never_read(
    kernel: ModuleType, kind: type[Cell], lengths: list[int], extra: int, padding: float
) -> None:
    """Bit by bit the same, with zeros where the padding is, in outputs and in the input's gradient."""
    cell, input, state = problem(kind, lengths, extra=extra, padding=padding)
    clean = input.zero_padding()
    if kernel.why_not(cell, input) is not None:
        return
    found, expected = run(kernel, cell, input, state), run(kernel, cell, clean, state)
    assert all(torch.equal(a, b) for a, b in zip(flat(found), flat(expected), strict=True))
    for values in (found.output, found.gradients[0]):
        assert torch.equal(values[input.padding_mask], torch.zeros_like(values[input.padding_mask]))


@pytest.mark.parametrize("kernel", KERNELS.values())
@every_cell
def test_empty_rows_keep_their_state_and_pass_its_gradient_on(kernel: ModuleType, kind: type[Cell]) -> None:
    cell, input, state = problem(kind, [3, 0, 0, 2])
    if kernel.why_not(cell, input) is not None:
        return
    found = run(kernel, cell, input, state)
    weights = [torch.linspace(0.5, 1.5, part.numel()).reshape(part.shape).to(part) for part in state]
    begin = found.gradients[1 : 1 + len(state)]
    for old, new, gradient, weight in zip(state, found.final, begin, weights, strict=True):
        assert torch.equal(new[1:3], old[1:3])
        assert torch.equal(gradient[1:3], weight[1:3])  # of the final state alone, unchanged
    assert torch.equal(found.gradients[0][1:3], torch.zeros(2, 3, 3, dtype=torch.float64))


@pytest.mark.parametrize("kernel", KERNELS.values())
@every_cell
def test_rows_that_are_all_empty_add_nothing_to_weights(kernel: ModuleType, kind: type[Cell]) -> None:
    cell, input, state = problem(kind, [2, 2])
    input = Sequences(torch.full_like(input.values, float("nan")), torch.tensor([0, 0]))
    if kernel.why_not(cell, input) is not None:
        return
    found = run(kernel, cell, input, state)
    for gradient in found.gradients[1 + len(state) :]:
        assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("shape", [(0, 3, 3), (2, 0, 3), (0, 0, 3)])
@every_cell
def test_no_rows_or_no_steps(kind: type[Cell], shape: tuple[int, int, int]) -> None:
    cell = kind(3, 4)
    input = Sequences.full(torch.zeros(shape))
    choice = choose(cell, input)
    state = cell.initial_state(shape[0])
    output, final = choice.kernel.run(cell, input, state)
    assert output.values.shape == (*shape[:2], 4)
    assert all(torch.equal(a, b) for a, b in zip(final, state, strict=True))


@every_cell
def test_gradients_are_those_of_finite_differences(kind: type[Cell]) -> None:
    cell, input, state = problem(kind, [3, 1], padding=0.0)
    weights = list(cell.parameters())

    def outputs(values: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        begin = type(state)(*rest[: len(state)])
        output, final = reference.run(cell, input.with_values(values), begin)
        return (output.values, *final)

    begin = [part.clone().requires_grad_() for part in state]
    assert torch.autograd.gradcheck(outputs, (input.values.clone().requires_grad_(), *begin, *weights))


class Plain(GRU):
    """A cell that torch does not know."""

    fused = None


def test_a_kernel_that_cannot_run_says_why() -> None:
    input = Sequences.full(torch.zeros(2, 3, 3))
    with pytest.raises(KernelError, match=r"'fused' cannot run: torch has no fused function for Plain; use backend"):
        choose(Plain(3, 4), input, "fused")
    with pytest.raises(KernelError, match=r"empty batch, got shape \(0, 3, 3\)"):
        choose(GRU(3, 4), Sequences.full(torch.zeros(0, 3, 3)), "fused")
    with pytest.raises(KernelError, match=rf"no kernel 'cuda'; expected auto or one of {', '.join(KERNELS)}"):
        choose(GRU(3, 4), input, "cuda")


def test_auto_keeps_the_refusals() -> None:
    input = Sequences.full(torch.zeros(2, 3, 3))
    choice = choose(Plain(3, 4), input)
    assert (choice.name, choice.kernel) == ("reference", reference)
    assert choice.refusals["fused"] == "torch has no fused function for Plain"
    assert choice.refusals["scan"] == "Plain is not linear in its state, so its steps depend on each other"
    assert "fused" not in choose(GRU(3, 4), input).refusals
    assert choose(MinGRU(3, 4), Sequences.full(torch.zeros(0, 3, 3))).refusals["scan"].endswith("shape (0, 3, 3)")


def test_a_named_backend_that_cannot_run_stops_the_layer() -> None:
    layer = Recurrent(Plain, 3, 4, backend="fused")
    with pytest.raises(KernelError, match="no fused function for Plain"):
        layer(Sequences.full(torch.zeros(2, 3, 3)))


@pytest.mark.usefixtures("not_compiled")
@pytest.mark.parametrize("lengths", [[3, 3], [3, 1]])
@pytest.mark.parametrize("kind", [kind for kind in CELLS if kind.fused])
def test_auto_really_runs_torchs_function(
    kind: type[Cell], lengths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = getattr(torch, str(kind.fused))
    monkeypatch.setattr(torch, str(kind.fused), lambda *given: calls.append(1) or real(*given))
    monkeypatch.setattr(reference, "run", lambda *given: pytest.fail("the plain scan ran"))
    Recurrent(kind, 3, 4, num_layers=2, bidirectional=True)(Sequences(torch.zeros(2, 3, 3), torch.tensor(lengths)))
    assert len(calls) == 4


def test_reference_runs_when_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "run", lambda *given: pytest.fail("torch's function ran"))
    output, _ = Recurrent(GRU, 3, 4, backend="reference")(Sequences.full(torch.zeros(2, 3, 3)))
    assert output.values.shape == (2, 3, 4)
