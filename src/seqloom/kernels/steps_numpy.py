"""Single steps in NumPy, compiled from the equations of a cell: no torch at all on the way.

A test evaluates the equations of every cell against its `step`, so what is read is what runs. Vectors are columns here,
(features, B), so that `W @ x` means what it says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import CodeType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from seqloom.cells.cell import Cell, GatedCell

Array = npt.NDArray[Any]


def _sigmoid(v: Array) -> Array:
    """1 / (1 + exp(-v)), without overflow."""
    made: Array = 0.5 * np.tanh(0.5 * v) + 0.5
    return made


def _norm(v: Array) -> Array:
    """Mean 0 and variance 1 over the features of each row."""
    made: Array = (v - v.mean(axis=0)) / np.sqrt(v.var(axis=0) + 1e-5)
    return made


FUNCTIONS: dict[str, Callable[..., Array]] = {
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "exp": np.exp,
    "logsigmoid": lambda v: -np.logaddexp(0, -v),
    "softplus": lambda v: np.logaddexp(0, v),
    "relu": lambda v: np.maximum(v, 0),
    "max": np.maximum,
    "sqrt": np.sqrt,
    "norm": _norm,
}


def why_not(cell: Cell) -> str | None:
    """The reason why the equations do not say what the cell's step does, or None."""
    name = type(cell).__name__
    if "equations" not in vars(type(cell)):
        return f"{name} has no equations of its own"
    fields = getattr(cell.initial_state(1), "_fields", ())
    absent = [field for field in fields if not any(text.startswith(f"{field}_next = ") for text in cell.equations)]
    return f"the equations of {name} do not give {', '.join(absent)}" if absent or not fields else None


def make(cell: Cell) -> Callable[[Array, Sequence[Array]], Array]:
    """The step function."""
    lines = [(name, compile(text, f"<equation of {type(cell).__name__}>", "eval")) for name, text in _split(cell)]
    fixed = {**FUNCTIONS, **{name: _column(weight.detach().numpy().copy()) for name, weight in cell.symbols().items()}}
    fields = cell.initial_state(1)._fields
    # A cell's class says its equations; nothing that a file holds is evaluated here.
    apart: dict[str, Any] = {"__builtins__": {}}

    def step(x: Array, state: Sequence[Array]) -> Array:
        signals: dict[str, Any] = dict(cell.signals(x))  # type: ignore[arg-type] # slices arrays as it slices tensors
        scope = {**fixed, **{name: part.T for name, part in signals.items()}}
        scope |= {field: part.T for field, part in zip(fields, state, strict=True)}
        for name, code in lines:
            scope[name] = _value(cell, code, apart, scope)
        for field, part in zip(fields, state, strict=True):
            part[...] = scope[f"{field}_next"].T
        return np.ascontiguousarray(scope[cell.output].T)

    return step


def _value(cell: Cell, code: CodeType, apart: dict[str, Any], scope: dict[str, Any]) -> Any:
    """What an equation gives; a vector of several gates gives each under its letter."""
    value = eval(code, apart, scope)
    H = cell.hidden_size
    if not isinstance(cell, GatedCell) or len(value) <= H:
        return value
    return SimpleNamespace(**{gate: value[k * H : (k + 1) * H] for k, gate in enumerate(cell.gates)})


def _split(cell: Cell) -> list[tuple[str, str]]:
    return [(name, text) for name, _, text in (equation.partition(" = ") for equation in cell.equations)]


def _column(weight: Array) -> Array:
    """A matrix as it is, a vector as a column."""
    return weight if weight.ndim > 1 else weight.reshape(-1, 1)
