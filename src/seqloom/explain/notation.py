"""A cell's equations as people write them: `W_ii x_t + b_ii + W_hi h_{t-1}`."""

from __future__ import annotations

import ast
from collections.abc import Sequence

_FUNCTIONS = {"sigmoid": "σ"}
_SIGNS: dict[type[ast.operator], tuple[str, int]] = {
    ast.Add: (" + ", 1),
    ast.Sub: (" - ", 1),
    ast.Mult: (" ⊙ ", 2),
    ast.Div: (" / ", 2),
    ast.MatMult: (" ", 3),
    ast.Pow: ("^", 4),
}
_ATOM = 5


def readable(equations: Sequence[str]) -> list[str]:
    """The equations with time in subscripts; ⊙ multiplies element by element, a space is a matrix product.

    A name that ends in `_next` is the state at t, the same name without it the state at t-1.
    """
    parsed = [ast.parse(text).body[0] for text in equations]
    assigned = [(target.id, s.value) for s in parsed if isinstance(s, ast.Assign) for target in _names(s.targets)]
    moments = {"x": "x_t", "dt": "dt_t"}
    for name, _ in assigned:
        state = name.removesuffix("_next")
        moments |= {name: f"{state}_t"} | ({state: f"{state}_{{t-1}}"} if state != name else {})
    lefts = [moments[name] for name, _ in assigned]
    width = max(map(len, lefts), default=0)
    return [f"{left:<{width}} = {_write(v, moments)[0]}" for left, (_, v) in zip(lefts, assigned, strict=True)]


def _names(targets: list[ast.expr]) -> list[ast.Name]:
    return [target for target in targets if isinstance(target, ast.Name)]


def _write(expression: ast.expr, moments: dict[str, str]) -> tuple[str, int]:
    """Text, and how tightly it binds."""
    match expression:
        case ast.Name(id=name):
            return moments.get(name, name), _ATOM
        case ast.Attribute(value=whole, attr=gate):
            return f"{_write(whole, moments)[0]}[{gate}]", _ATOM
        case ast.Call(func=function, args=arguments):
            name = ast.unparse(function).rpartition(".")[2]
            return f"{_FUNCTIONS.get(name, name)}({', '.join(_write(a, moments)[0] for a in arguments)})", _ATOM
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return f"-{_bound(operand, moments, 3)}", 2
        case ast.BinOp(left=left, op=op, right=right):
            sign, strength = _SIGNS[type(op)]
            is_number = isinstance(left, ast.Constant) or isinstance(right, ast.Constant)
            sign = " " if isinstance(op, ast.Mult) and is_number else sign
            return f"{_bound(left, moments, strength)}{sign}{_bound(right, moments, strength + 1)}", strength
    return ast.unparse(expression), _ATOM


def _bound(expression: ast.expr, moments: dict[str, str], least: int) -> str:
    """In brackets where it binds less tightly than what stands around it."""
    text, strength = _write(expression, moments)
    return text if strength >= least else f"({text})"
