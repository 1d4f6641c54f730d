"""From the equations of a cell to the graph of what flows where."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from seqloom.errors import UsageError

_SYMBOLS: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "−",
    ast.Mult: "×",
    ast.Div: "÷",
    ast.Pow: "^",
    ast.MatMult: "@",
}


class Kind(Enum):
    """What a node of the graph does."""

    SIGNAL = "given from outside: the input or a state"
    BOX = "weights at work: a gate, or a linear map"
    FUNCTION = "a function without weights"
    OPERATION = "arithmetic, element by element"


@dataclass(frozen=True)
class Node:
    """One value of the step.

    Attributes:
        kind: what computes it.
        label: name of a signal, function of a box or FUNCTION (`linear` for none), symbol of an operation.
        letter: the name its equation gives it, without `_next`; the weights of a linear map without name.
        inputs: the nodes it is computed from, by their place in the graph.
    """

    kind: Kind
    label: str
    letter: str = ""
    inputs: tuple[int, ...] = ()


@dataclass(frozen=True)
class Graph:
    """The dataflow of one step, in order of computation.

    Attributes:
        nodes: every value; inputs come before those that use them.
        inputs: what enters each step: `x`, and `dt` where some equation reads it.
        states: by state name, the node of the state that enters and the node of the state that leaves.
        output: the node that the cell returns.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    states: dict[str, tuple[int, int]]
    output: int


def read_equations(equations: Sequence[str], output: str) -> Graph:
    """The graph of some equations `name = expression`.

    Names that no equation gives, other than `x`, `dt` and the states, are weights. Sums and products with weights
    melt into the box whose function takes them.

    Raises:
        UsageError: an equation is no plain arithmetic.
    """
    reader = _Reader([_assignment(text) for text in equations])
    if output not in reader.scope:
        raise UsageError(f"output {output!r} is given by no equation; expected one of {', '.join(reader.scope)}")
    states = {name: (reader.scope[name], reader.scope[f"{name}_next"]) for name in reader.states}
    return Graph(tuple(reader.nodes), reader.inputs, states, reader.scope[output])


def _assignment(text: str) -> tuple[str, ast.expr]:
    try:
        body = ast.parse(text.strip()).body
    except SyntaxError as error:
        raise UsageError(f"equation {text!r} is no Python expression ({error.msg}); expected name = ...") from None
    match body:
        case [ast.Assign(targets=[ast.Name(id=name)], value=value)]:
            return name, value
    raise UsageError(f"equation {text!r} gives no single name; expected name = expression")


class _Reader:
    """Walks the equations in order and notes every value as a node."""

    def __init__(self, assignments: list[tuple[str, ast.expr]]) -> None:
        self.nodes: list[Node] = []
        self.states = [name.removesuffix("_next") for name, _ in assignments if name.endswith("_next")]
        timed = any("dt" in _names(value) for _, value in assignments)
        self.inputs = ("x", "dt") if timed else ("x",)
        self.scope = {name: self._add(Node(Kind.SIGNAL, name)) for name in (*self.inputs, *self.states)}
        for name, value in assignments:
            made = len(self.nodes)
            place = self._value(value)
            self.scope[name] = place
            if place >= made:
                self.nodes[place] = replace(self.nodes[place], letter=name.removesuffix("_next"))

    def _add(self, node: Node) -> int:
        """Its place; what is computed twice in the same way is one node, but boxes have weights of their own."""
        if node.kind in (Kind.FUNCTION, Kind.OPERATION) and node in self.nodes:
            return self.nodes.index(node)
        self.nodes.append(node)
        return len(self.nodes) - 1

    def _value(self, expression: ast.expr) -> int:
        if self._is_linear(expression):
            return self._box("linear", [expression], ", ".join(self._weights(expression)))
        match expression:
            case ast.Name(id=name):
                return self.scope[name]
            case ast.Attribute(value=whole):
                return self._value(whole)
            case ast.Call():
                return self._call(expression)
            case ast.BinOp():
                return self._operation(expression)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._add(Node(Kind.OPERATION, "−", inputs=(self._value(operand),)))
        raise UsageError(f"cannot draw {ast.unparse(expression)!r}; expected names, numbers, calls and arithmetic")

    def _call(self, call: ast.Call) -> int:
        function = ast.unparse(call.func).rpartition(".")[2]
        terms = list(_terms(call.args[0])) if len(call.args) == 1 else []
        if any(self._is_linear(term) for term in terms):
            return self._box(function, terms, "")
        return self._add(Node(Kind.FUNCTION, function, inputs=tuple(self._value(argument) for argument in call.args)))

    def _box(self, label: str, terms: list[ast.expr], letter: str) -> int:
        """A node for weights at work: linear terms give the signals they weigh, others their value."""
        inputs: dict[int, None] = {}
        for term in terms:
            weighed = self._weighed(term) if self._is_linear(term) else [term]
            inputs.update(dict.fromkeys(self._value(signal) for signal in weighed))
        return self._add(Node(Kind.BOX, label, letter, tuple(inputs)))

    def _operation(self, expression: ast.BinOp) -> int:
        symbol = _SYMBOLS.get(type(expression.op))
        if symbol is None:
            raise UsageError(f"cannot draw {ast.unparse(expression)!r}; expected one of + - * / ** @")
        match expression.left, expression.right:
            case ast.Constant(value=number), signal:
                return self._add(Node(Kind.OPERATION, f"{number!r} {symbol}", inputs=(self._value(signal),)))
            case signal, ast.Constant(value=number):
                return self._add(Node(Kind.OPERATION, f"{symbol} {number!r}", inputs=(self._value(signal),)))
        inputs = self._value(expression.left), self._value(expression.right)
        return self._add(Node(Kind.OPERATION, symbol, inputs=inputs))

    def _is_weight(self, expression: ast.expr) -> bool:
        """Whether it is made of weights alone, so that it is the same at every step."""
        names = _names(expression)
        return bool(names) and not any(name in self.scope for name in names)

    def _is_linear(self, expression: ast.expr) -> bool:
        match expression:
            case ast.BinOp(left=left, op=ast.MatMult() | ast.Mult(), right=right):
                return self._is_weight(left) or self._is_weight(right)
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub(), right=right):
                return self._is_linear(left) and self._is_linear(right)
        return self._is_weight(expression)

    def _weighed(self, expression: ast.expr) -> list[ast.expr]:
        """The signals that a linear expression weighs."""
        if self._is_weight(expression):
            return []
        assert isinstance(expression, ast.BinOp)
        sides = [expression.left, expression.right]
        if isinstance(expression.op, ast.Add | ast.Sub):
            return [signal for side in sides for signal in self._weighed(side)]
        return [side for side in sides if not self._is_weight(side)]

    def _weights(self, expression: ast.expr) -> list[str]:
        """The matrices of a linear expression; its biases where it has nothing else."""
        products = [node for node in ast.walk(expression) if isinstance(node, ast.BinOp)]
        factors = [
            ast.unparse(node.left if self._is_weight(node.left) else node.right)
            for node in products
            if isinstance(node.op, ast.MatMult | ast.Mult)
        ]
        return factors or sorted(_names(expression))


def _terms(expression: ast.expr) -> Iterator[ast.expr]:
    """The summands of a sum."""
    if isinstance(expression, ast.BinOp) and isinstance(expression.op, ast.Add):
        yield from _terms(expression.left)
        yield from _terms(expression.right)
    else:
        yield expression


def _names(expression: ast.expr) -> set[str]:
    """The values it uses; names of functions are none."""
    functions = {id(node.func) for node in ast.walk(expression) if isinstance(node, ast.Call)}
    return {node.id for node in ast.walk(expression) if isinstance(node, ast.Name) and id(node) not in functions}
