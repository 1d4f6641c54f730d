"""What the equations say of the gates is what `step` does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from catalogue import Leaky
from seqloom.cells.cell import Cell
from seqloom.gates import equations_of, evaluate, gate_functions, keeper, kept, recurrent_weights
from seqloom.lookup import find, names

CELLS = [find("cells", name, Cell) for name in names("cells")]


def steps(cell: Cell, rows: int = 6) -> tuple[Tensor, Any]:
    """Inputs and states of single steps, as a short sequence of random steps leaves them."""
    torch.manual_seed(1)
    x, state = torch.randn(rows, cell.input_size), cell.initial_state(rows)
    for _ in range(3):
        _, state = cell.step(cell.project(torch.randn(rows, 1, cell.input_size))[:, 0], state)
    return x, type(state)(*(part.detach() for part in state))


@pytest.mark.parametrize("kind", CELLS)
def test_all_rows_at_once_give_what_step_gives(kind: type[Cell]) -> None:
    torch.manual_seed(0)
    cell = kind(3, 5).double()
    x, state = steps(cell.float())
    values = evaluate(cell, x, state)
    output, new = cell.step(cell.project(x.unsqueeze(1))[:, 0], state)
    torch.testing.assert_close(values[cell.output], output, rtol=1e-5, atol=1e-6)
    for name, part in zip(new._fields, new, strict=True):
        torch.testing.assert_close(values[f"{name}_next"], part, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [kind for kind in CELLS if keeper(kind)])
def test_what_is_kept_is_the_direct_derivative(kind: type[Cell]) -> None:
    """With all recurrent weights at zero a state reaches the next one only as it is kept."""
    torch.manual_seed(0)
    cell = kind(3, 5)
    found = keeper(kind)
    assert found is not None
    x, state = steps(cell)
    with torch.no_grad():
        for name, weight in cell.symbols().items():
            if name.startswith(("W_h", "p_")):
                weight.zero_()
    place = state._fields.index(found.state)

    def next_state(part: Tensor) -> Any:
        return cell.step(cell.project(x.unsqueeze(1))[:, 0], state._replace(**{found.state: part}))[1][place]

    jacobian = torch.autograd.functional.jacobian(next_state, state[place])
    direct = torch.einsum("bibi->bi", jacobian)
    share = kept(cell, evaluate(cell, x, state), state)[found.state]
    torch.testing.assert_close(share.expand_as(direct), direct, rtol=1e-4, atol=1e-5)


def test_the_keeping_gates_of_known_cells() -> None:
    def of(name: str) -> Any:
        return keeper(find("cells", name, Cell))

    assert of("lstm") == ("c", "f", 1, ("b_if", "b_hf"), ("b_ii", "b_hi"))
    assert of("gru") == ("h", "z", 1, ("b_iz", "b_hz"), ())
    assert of("min_gru") == ("h", "z", -1, ("b_z",), ())
    assert of("rnn") is None
    assert of("decay_gru") == ("h", "z", 1, ("b_iz", "b_hz"), ())
    assert recurrent_weights(find("cells", "decay_gru", Cell)) == ["W_hr", "W_hz", "W_hn"]


def test_a_cell_without_equations_has_no_known_gates() -> None:
    assert (equations_of(Leaky), gate_functions(Leaky), keeper(Leaky)) == ({}, {}, None)


def test_gates_are_what_can_saturate() -> None:
    assert gate_functions(find("cells", "lstm", Cell)) == {"i": "sigmoid", "f": "sigmoid", "g": "tanh", "o": "sigmoid"}
    assert gate_functions(find("cells", "rnn", Cell)) == {"h_next": "tanh"}
