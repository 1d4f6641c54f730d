"""What is inside one cell: in words, in equations, as a drawing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import torch

from seqloom.cells.cell import Cell, GatedCell
from seqloom.explain.columns import aligned
from seqloom.explain.drawing import draw_equations
from seqloom.explain.notation import readable
from seqloom.kernels import choose
from seqloom.sequences import Sequences

_INPUT, _HIDDEN = 32, 64  # the example


def draw_cell(cell: type[Cell]) -> str:
    """An SVG of the cell, made from its `equations` and nothing else.

    Raises:
        UsageError: an equation is no plain arithmetic.
    """
    return draw_equations(cell.__name__, cell.equations, cell.output)


def explain_cell(cell: type[Cell]) -> str:
    """The cell in plain text: equations, source, state, weights, parameters and the kernel that runs it."""
    example = cell(_INPUT, _HIDDEN)
    count = sum(weight.numel() for weight in example.parameters())
    choice = choose(example, Sequences.full(torch.zeros(2, 3, _INPUT)))
    refused = [f"  not {name}: {reason}" for name, reason in choice.refusals.items()]
    sections = {
        "Equations (⊙ multiplies element by element)": readable(cell.equations),
        "Source": cell.source.split("; "),
        "State (B rows)": aligned([[name, shape] for name, shape in _state_shapes(cell).items()]),
        "Weights (I input_size, H hidden_size)": _weights(cell),
        "Parameters": [f"{_formula(cell)} = {count:,} with I = {_INPUT}, H = {_HIDDEN}"],
        f"Kernel (backend: auto, {next(example.parameters(), torch.zeros(0)).device})": [choice.label, *refused],
    }
    body = [f"\n{title}\n" + "\n".join(f"  {line}" for line in lines) for title, lines in sections.items()]
    return "\n".join([cell.__name__, *body]) + "\n"


def _weights(cell: type[Cell]) -> list[str]:
    lines = aligned([[name, _bracketed(shape)] for name, shape in _weight_shapes(cell).items()])
    if issubclass(cell, GatedCell) and len(cell.gates) > 1:
        lines.append(f"gates are stacked in the order {', '.join(cell.gates)}")
    return lines or ["none"]


def _weight_shapes(cell: type[Cell]) -> dict[str, list[str]]:
    return _symbolic(lambda i, h: {name: weight.shape for name, weight in cell(i, h).named_parameters()})


def _state_shapes(cell: type[Cell]) -> dict[str, str]:
    def shapes(i: int, h: int) -> Mapping[str, tuple[int, ...]]:
        state = cell(i, h).initial_state(1)
        return {name: part.shape[1:] for name, part in zip(state._fields, state, strict=True)}

    return {name: _bracketed(["B", *shape]) for name, shape in _symbolic(shapes).items()}


def _bracketed(shape: list[str]) -> str:
    return f"({', '.join(shape)}{',' if len(shape) == 1 else ''})"


def _formula(cell: type[Cell]) -> str:
    """The sum of all weights' sizes in I and H; equal terms are put together."""
    sizes: dict[str, int] = {}
    for shape in _weight_shapes(cell).values():
        number = prod(int(_leading(factor)[0]) for factor in shape)
        letters = "·".join(filter(None, (_leading(factor)[1] for factor in shape)))
        sizes[letters] = sizes.get(letters, 0) + number
    return " + ".join(f"{'' if n == 1 and letters else n}{letters}" for letters, n in sizes.items()) or "0"


def _leading(factor: str) -> tuple[str, str]:
    """`4H` to `4`, `H`; a sum keeps its brackets and counts once."""
    if " " in factor:
        return "1", f"({factor})"
    letters = factor.lstrip("0123456789")
    return factor[: len(factor) - len(letters)] or "1", letters


def _symbolic(shapes: Callable[[int, int], Mapping[str, tuple[int, ...]]]) -> dict[str, list[str]]:
    """Each shape as text in I and H, found from three pairs of sizes: every side is a I + b H + c."""
    base, wider, taller = shapes(2, 3), shapes(3, 3), shapes(2, 4)
    sides = {name: zip(base[name], wider[name], taller[name], strict=True) for name in base}
    return {name: [_side(n, wide - n, tall - n) for n, wide, tall in found] for name, found in sides.items()}


def _side(size: int, per_input: int, per_hidden: int) -> str:
    rest = size - 2 * per_input - 3 * per_hidden
    parts = [f"{'' if n == 1 else n}{letter}" for n, letter in ((per_hidden, "H"), (per_input, "I")) if n]
    return " + ".join(parts + ([str(rest)] if rest or not parts else [])).replace("+ -", "- ")
