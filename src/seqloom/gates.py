"""The gates of any cell, read from its equations: their values, what they keep of a state, and their biases."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from seqloom.cells.cell import Cell

Values = dict[str, Tensor]
BOUNDED = ("sigmoid", "tanh")  # functions that saturate


class Keeper(NamedTuple):
    """The gate that decides how much of a state stays.

    Attributes:
        state: the state it keeps.
        gate: its letter.
        sign: 1 where an open gate keeps, -1 where it forgets.
        biases: names of the biases inside its sigmoid.
        input_biases: names of the biases of a gate of its own that lets new values in.
    """

    state: str
    gate: str
    sign: int
    biases: tuple[str, ...]
    input_biases: tuple[str, ...]


def equations_of(cell: Cell | type[Cell]) -> dict[str, ast.expr]:
    """The right-hand sides by name, in order; none for a cell without equations."""
    parsed = [ast.parse(text).body[0] for text in getattr(cell, "equations", ())]
    return {ast.unparse(line.targets[0]): line.value for line in parsed if isinstance(line, ast.Assign)}


def gate_functions(cell: Cell | type[Cell]) -> dict[str, str]:
    """The letters of everything that can saturate, each with its function."""
    found = {name: _function(value) for name, value in equations_of(cell).items()}
    return {name: function for name, function in found.items() if function in BOUNDED}


def evaluate(cell: Cell, x: Tensor, state: Any) -> Values:
    """All that the equations name, for N single steps.

    Args:
        cell: a cell with equations.
        x: (N, I) inputs.
        state: what each step starts from, a named tuple of (N, ...).

    Returns:
        (N, ...) by name; a vector of several gates as one tensor.
    """
    weights = cell.symbols()
    lines = [(name, compile(ast.Expression(value), name, "eval")) for name, value in equations_of(cell).items()]

    def one(x: Tensor, parts: tuple[Tensor, ...]) -> Values:
        scope: dict[str, Any] = _FUNCTIONS | weights | cell.signals(x) | dict(zip(state._fields, parts, strict=True))
        found = {}
        for name, line in lines:
            found[name] = eval(line, {"__builtins__": {}}, scope)
            scope[name] = _by_gate(cell, found[name])
        return found

    evaluated: Values = torch.vmap(one)(x, tuple(state))
    return evaluated


def kept(cell: Cell, values: Values, state: Any) -> Values:
    """By state, the share (N, ...) of it that the next state takes over directly; states without one are left out.

    Args:
        cell: a cell with equations.
        values: what `evaluate` gave.
        state: what each step started from.
    """
    scope: dict[str, Any] = _FUNCTIONS | cell.symbols() | dict(zip(state._fields, state, strict=True)) | values
    found = {}
    for name, expression in _from_states(cell).items():
        before = name.removesuffix("_next")
        if before in _names(expression) and _is_affine(expression, before):
            line = compile(ast.Expression(expression), name, "eval")
            one, zero = (eval(line, {"__builtins__": {}}, scope | {before: factor}) for factor in (1.0, 0.0))
            found[before] = one - zero
    return found


def keeper(cell: type[Cell]) -> Keeper | None:
    """The first gate with a bias that keeps a state: f of an LSTM, z of a GRU; None where the equations show none."""
    equations = _from_states(cell)
    for name, expression in equations.items():
        state = name.removesuffix("_next")
        if state not in _names(expression) or not _is_affine(expression, state):
            continue
        terms = list(_terms(expression))
        for gate, sign in (found for term in terms for found in _keeping(term, state)):
            biases = _biases(equations, gate)
            if biases:
                others = {n for t in terms for n in _factors(t) if n not in (gate, state)}
                inward = [bias for other in sorted(others) for bias in _biases(equations, other)]
                return Keeper(state, gate, sign, biases, tuple(inward))
    return None


def recurrent_weights(cell: type[Cell]) -> list[str]:
    """Names of the matrices that multiply a state."""
    equations = _from_states(cell)
    states = {name.removesuffix("_next") for name in equations if name.endswith("_next")}
    products = [
        node
        for expression in equations.values()
        for node in ast.walk(expression)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult)
    ]
    return [ast.unparse(node.left) for node in products if states & _names(node.right)]


_FUNCTIONS: dict[str, Any] = {
    **{name: getattr(torch, name) for name in ("sigmoid", "tanh", "exp", "relu", "sqrt", "log", "abs")},
    **{name: getattr(functional, name) for name in ("logsigmoid", "softplus")},
    "max": torch.maximum,
    "norm": lambda v: (v - v.mean(-1, True)) / (v.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt(),
}


def _by_gate(cell: Cell, value: Tensor) -> Any:
    """A vector of several gates gives each under its letter."""
    letters: tuple[str, ...] = getattr(cell, "gates", ())
    several = value.shape[-1] > cell.hidden_size and len(letters) > 1
    if not several:
        return value
    return SimpleNamespace(**dict(zip(letters, torch.split(value, cell.hidden_size, dim=-1), strict=False)))


def _from_states(cell: Cell | type[Cell]) -> dict[str, ast.expr]:
    """The equations with names that merely scale or shift a state, such as one that decayed, written out."""
    states = {name.removesuffix("_next") for name in equations_of(cell) if name.endswith("_next")}
    written = _Written()
    found: dict[str, ast.expr] = {}
    for name, expression in equations_of(cell).items():
        found[name] = written.visit(expression)
        inside = states & _names(found[name])
        if not name.endswith("_next") and inside and all(_is_affine(found[name], state) for state in inside):
            written.out[name] = found[name]
    return found


class _Written(ast.NodeTransformer):
    """Puts expressions in the place of names."""

    def __init__(self) -> None:
        self.out: dict[str, ast.expr] = {}

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """What the name stands for."""
        return self.out.get(node.id, node)


def _function(expression: ast.expr) -> str:
    return ast.unparse(expression.func).rpartition(".")[2] if isinstance(expression, ast.Call) else ""


def _names(expression: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}


def _terms(expression: ast.expr) -> Iterator[ast.expr]:
    """The summands of a sum."""
    if isinstance(expression, ast.BinOp) and isinstance(expression.op, ast.Add):
        yield from _terms(expression.left)
        yield from _terms(expression.right)
    else:
        yield expression


def _factors(expression: ast.expr) -> dict[str, int]:
    """The plain names that a product multiplies, 1, or whose complement `1 - name` it does, -1."""
    match expression:
        case ast.Name(id=name):
            return {name: 1}
        case ast.BinOp(left=ast.Constant(value=1), op=ast.Sub(), right=ast.Name(id=name)):
            return {name: -1}
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _factors(left) | _factors(right)
    return {}


def _keeping(term: ast.expr, state: str) -> list[tuple[str, int]]:
    """The gates that multiply the state in a term."""
    factors = _factors(term)
    return [(name, sign) for name, sign in factors.items() if name != state] if factors.get(state) == 1 else []


def _biases(equations: dict[str, ast.expr], gate: str) -> tuple[str, ...]:
    """The weights that stand alone in the sum inside a gate's sigmoid."""
    value = equations.get(gate)
    if not isinstance(value, ast.Call) or _function(value) != "sigmoid":
        return ()
    alone = [term.id for term in _terms(value.args[0]) if isinstance(term, ast.Name)]
    return tuple(name for name in alone if name not in equations and name != "x")


def _is_affine(expression: ast.expr, state: str) -> bool:
    """Whether the state reaches the value by sums and products with other names only."""
    match expression:
        case ast.Name() | ast.Constant():
            return True
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub(), right=right):
            return _is_affine(left, state) and _is_affine(right, state)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            sides = [side for side in (left, right) if state in _names(side)]
            return len(sides) < 2 and all(_is_affine(side, state) for side in sides)
    return state not in _names(expression)
