"""The scan over all steps at once: every length of block, exact padding, and gradients of any order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seqloom.cells.cell import Cell, LinearCell
from seqloom.kernels import choose, reference, scan
from seqloom.kernels.scan import linear_scan
from seqloom.layers.recurrent import Recurrent
from seqloom.lookup import find, names
from seqloom.sequences import Sequences

LINEAR = [kind for kind in (find("cells", name, Cell) for name in names("cells")) if issubclass(kind, LinearCell)]


def coefficients(rows: int, steps: int, hidden: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(rows + steps)
    a = torch.rand(rows, steps, hidden, generator=random, dtype=torch.float64)
    b = torch.randn(rows, steps, hidden, generator=random, dtype=torch.float64)
    return a, b, torch.randn(rows, hidden, generator=random, dtype=torch.float64)


def one_by_one(a: Tensor, b: Tensor, memory: Tensor) -> Tensor:
    found = []
    for t in range(a.shape[1]):
        memory = a[:, t] * memory + b[:, t]
        found.append(memory)
    return torch.stack(found, dim=1)


def test_there_are_linear_cells() -> None:
    assert {"MinGRU", "MinLSTM", "RGLRU", "SRU"} <= {kind.__name__ for kind in LINEAR}


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(1, 3), st.integers(1, 1200))
def test_it_is_one_step_after_another(rows: int, steps: int) -> None:
    a, b, initial = coefficients(rows, steps)
    torch.testing.assert_close(linear_scan(a, b, initial), one_by_one(a, b, initial), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 31, 32, 33, 64, 65, 1023, 1024, 1025, 2100])
def test_gradients_at_the_edges_of_blocks(steps: int) -> None:
    """A block is full, one short, one over; blocks of blocks as well."""
    leaves = [part.requires_grad_() for part in coefficients(2, steps, 2)]
    weight = torch.linspace(0.5, 1.5, 4 * steps, dtype=torch.float64).reshape(2, steps, 2)
    found = torch.autograd.grad((linear_scan(*leaves) ** 2 * weight).sum(), leaves)
    expected = torch.autograd.grad((one_by_one(*leaves) ** 2 * weight).sum(), leaves)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_gradients_of_gradients() -> None:
    leaves = [part.requires_grad_() for part in coefficients(2, 5)]
    assert torch.autograd.gradcheck(linear_scan, leaves)
    assert torch.autograd.gradgradcheck(linear_scan, leaves)


def kept_by(call: Callable[[], Tensor]) -> int:
    """Numbers that a call saves for its backward pass."""
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        call()
    return sum(sizes)


def test_what_is_kept_for_the_backward_pass_grows_with_the_steps_only() -> None:
    """Two tensors of the size of the outputs, not one for each step or round."""
    a, b, initial = (part.requires_grad_() for part in coefficients(1, 1000))
    assert kept_by(lambda: linear_scan(a, b, initial)) <= 2 * a.numel() + 3 * initial.numel()


def test_nothing_given_is_changed() -> None:
    given_tensors = coefficients(2, 70)
    before = [part.clone() for part in given_tensors]
    linear_scan(*given_tensors)
    assert all(torch.equal(one, other) for one, other in zip(given_tensors, before, strict=True))


@pytest.mark.parametrize("kind", LINEAR)
def test_long_ragged_rows_agree_with_the_plain_scan(kind: type[LinearCell]) -> None:
    torch.manual_seed(0)
    cell = kind(3, 4).double()
    values = torch.randn(4, 150, 3, dtype=torch.float64)
    values[1, 70:] = float("nan")
    values[2] = float("nan")
    input = Sequences(values, torch.tensor([150, 70, 0, 33]))
    state = cell.initial_state(4)
    state = type(state)(torch.randn_like(state[0]))
    assert choose(cell, input).kernel is scan
    (found, end), (expected, other) = scan.run(cell, input, state), reference.run(cell, input, state)
    torch.testing.assert_close(found.values, expected.values, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(end[0], other[0], rtol=1e-11, atol=1e-12)
    assert torch.equal(end[0][2], state[0][2]), "an empty row keeps its state to the bit"


@pytest.mark.parametrize("kind", LINEAR)
def test_auto_really_scans(kind: type[LinearCell], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "run", lambda *given: pytest.fail("the plain scan ran"))
    Recurrent(kind, 3, 4, num_layers=2, bidirectional=True)(Sequences(torch.zeros(2, 3, 3), torch.tensor([3, 1])))


def test_halves_of_precision_meet_in_the_wider_one() -> None:
    """As where `project` runs in bfloat16 and the state is kept in float32."""
    a, b, initial = coefficients(1, 40)
    found = linear_scan(a.bfloat16(), b.bfloat16(), initial.float())
    assert found.dtype == torch.float32
    expected = one_by_one(a.bfloat16().float(), b.bfloat16().float(), initial.float())
    torch.testing.assert_close(found, expected)
