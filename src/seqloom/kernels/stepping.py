"""Who runs single steps on NumPy arrays, for live sequences: the files `steps_*.py` here.

Such a file has `why_not(cell)`, the reason why it cannot run or None, and `make(cell)`, a function `step(x, state)`:
inputs (B, I) to outputs (B, H), with the arrays of the state, each (B, ...) in the order of the cell's named tuple,
overwritten in place. Weights are those at the time of `make`.

All agree but those that round the weights; they differ in speed. In bfloat16 weights are half as long to read as in
float32 and in eight bits a quarter, which is what a step of a large layer waits for. Such answers differ from those of
the full weights (`seqloom.layers.live.rounding` says by how much), so they are given only where they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy.typing as npt

from seqloom.cells.cell import Cell
from seqloom.errors import KernelError
from seqloom.kernels import steps_native, steps_numpy, steps_torch
from seqloom.kernels.native import Numbers

Array = npt.NDArray[Any]
Step = Callable[[Array, Sequence[Array]], Array]


class Stepper(NamedTuple):
    """Whether a cell's steps can be run, and who runs them."""

    why_not: Callable[[Cell], str | None]
    make: Callable[[Cell], Step]


# Fastest first; torch always runs. Those behind it round the weights, and run only when they are named.
STEPPERS: dict[str, Stepper] = {
    "native": Stepper(steps_native.why_not, steps_native.make),
    "numpy": Stepper(steps_numpy.why_not, steps_numpy.make),
    "torch": Stepper(steps_torch.why_not, steps_torch.make),
    "bfloat16": Stepper(steps_native.why_not, partial(steps_native.make, numbers=Numbers.BFLOAT16)),
    "int8": Stepper(steps_native.why_not, partial(steps_native.make, numbers=Numbers.INT8)),
}


class StepChoice(NamedTuple):
    """Who runs a cell's steps, and why those before it could not."""

    name: str
    step: Step
    refusals: dict[str, str]


def choose_step(cell: Cell, backend: str = "auto") -> StepChoice:
    """The step function of a cell in evaluation mode.

    Raises:
        KernelError: `backend` names one that cannot run the cell, or none at all.
    """
    if backend != "auto" and backend not in STEPPERS:
        raise KernelError(f"no {backend!r} runs single steps; expected auto or one of {', '.join(STEPPERS)}")
    refusals: dict[str, str] = {}
    for name, stepper in STEPPERS.items():
        if backend not in ("auto", name):
            continue
        reason = stepper.why_not(cell)
        if reason is None:
            return StepChoice(name, stepper.make(cell), refusals)
        refusals[name] = reason
    raise KernelError(f"{backend!r} cannot run single steps: {refusals.get(backend, refusals)}; use backend: auto")
