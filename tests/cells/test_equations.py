"""The equations that people read are the ones that run."""

from __future__ import annotations

import ast
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from seqloom.cells.cell import Cell, GatedCell
from seqloom.lookup import find, names

CELLS = [find("cells", name, Cell) for name in names("cells")]
FUNCTIONS: dict[str, Any] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "exp": torch.exp,
    "logsigmoid": functional.logsigmoid,
    "softplus": functional.softplus,
    "relu": torch.relu,
    "max": torch.maximum,
    "sqrt": torch.sqrt,
    "norm": lambda v: (v - v.mean()) / torch.sqrt(v.var(unbiased=False) + 1e-5),
}


def rows(cell: Cell, *, seed: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One step's input (I,) and a state of random vectors."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(cell.input_size, generator=random, dtype=torch.float64)
    state = cell.initial_state(1)
    parts = (torch.randn(part.shape, generator=random, dtype=torch.float64) for part in state)
    return x, type(state)(*parts)


def evaluate(cell: Cell, x: Tensor, state: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Every name that the equations give, for one row."""
    scope = {**FUNCTIONS, **cell.signals(x), **cell.symbols()}
    scope |= {name: part[0] for name, part in zip(state._fields, state, strict=True)}  # type: ignore[attr-defined]
    for equation in cell.equations:
        name, _, expression = equation.partition(" = ")
        value = eval(expression, {"__builtins__": {}}, scope)
        scope[name] = by_gate(cell, value) if len(value) > cell.hidden_size and isinstance(cell, GatedCell) else value
    return scope


def by_gate(cell: GatedCell, value: Tensor) -> SimpleNamespace:
    """A vector of several gates, each under its letter."""
    return SimpleNamespace(**dict(zip(cell.gates, value.split(cell.hidden_size), strict=False)))


def stated_shape(text: str, name: str, sizes: dict[str, int]) -> tuple[int, ...] | None:
    """What a docstring says in brackets behind the name of a weight: `(4H, I)`."""
    found = re.search(rf"`{name}`(?:(?:,| and) `\w+`)* \(([^)]+)\)", text)
    if found is None:
        return None
    terms = [re.fullmatch(r"(\d*)([A-Z]?)(?: - (\d+))?", part.strip()) for part in found[1].split(",") if part.strip()]
    assert all(terms), found[1]
    return tuple(int(t[1] or 1) * sizes.get(t[2], 1) - int(t[3] or 0) for t in terms if t is not None)


@pytest.mark.parametrize("kind", CELLS)
def test_the_shape_of_each_weight_is_stated(kind: type[Cell]) -> None:
    """In the cell's own docstring, so that code and paper can be compared without looking elsewhere."""
    I, H, P = 7, 5, 3  # noqa: E741
    options = {"proj_size": P} if kind is find("cells", "projected_lstm", Cell) else {}
    text = " ".join((kind.__doc__ or "").split())
    for name, weight in kind(I, H, **options).named_parameters():
        assert stated_shape(text, name, {"I": I, "H": H, "P": P}) == tuple(weight.shape), name


def test_there_are_cells() -> None:
    assert {"lstm", "gru", "rnn"} <= set(names("cells"))


@pytest.mark.parametrize("kind", CELLS)
def test_equations_give_what_step_gives(kind: type[Cell]) -> None:
    torch.manual_seed(0)
    cell = kind(3, 5).double()
    x, state = rows(cell, seed=1)
    output, new = cell.step(cell.project(x.reshape(1, 1, -1))[:, 0], state)
    found = evaluate(cell, x, state)
    torch.testing.assert_close(found[cell.output], output[0], rtol=1e-13, atol=1e-14)
    for name, part in zip(new._fields, new, strict=True):
        torch.testing.assert_close(found[f"{name}_next"], part[0], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("kind", CELLS)
def test_equations_use_every_weight_and_nothing_else(kind: type[Cell]) -> None:
    used = {n.id for text in kind.equations for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name)}
    symbols = kind(2, 3).symbols()
    assert set(symbols) <= used
    assert sum(weight.numel() for weight in symbols.values()) == sum(w.numel() for w in kind(2, 3).parameters())


@pytest.mark.parametrize("kind", [kind for kind in CELLS if issubclass(kind, GatedCell)])
def test_symbols_are_slices_in_the_order_of_the_gates(kind: type[GatedCell]) -> None:
    cell = kind(2, 3)
    for prefix, weight in {"W_i": cell.weight_ih, "b_h": cell.bias_hh}.items():
        parts = {name.removeprefix(prefix): part for name, part in cell.symbols().items() if name.startswith(prefix)}
        assert "".join(parts) in ("".join(kind.gates), ""), "a name may stand for several gates, or for all of them"
        assert torch.equal(torch.cat(list(parts.values())), weight)
