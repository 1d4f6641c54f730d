"""Who runs single steps on NumPy arrays, for live sequences: every one is a file `steps_*.py` here.

Such a file has `why_not(cell)`, the reason why it cannot run or None, and `make(cell)`, a function `step(x, state)`:
inputs (B, I) to outputs (B, H), with the arrays of the state, each (B, ...) in the order of the cell's named tuple,
overwritten in place. All agree but those that
round the weights; they differ in speed. Weights are those at the time of `make`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy.typing as npt

from seqloom.cells.cell import Cell
from seqloom.errors import KernelError
from seqloom.kernels import steps_bfloat16, steps_int8, steps_native, steps_numpy, steps_torch

Array = npt.NDArray[Any]
Step = Callable[[Array, Sequence[Array]], Array]

# Fastest first; torch always runs. Those behind it round the weights, and run only when they are named.
STEPPERS: dict[str, ModuleType] = {
    "native": steps_native,
    "numpy": steps_numpy,
    "torch": steps_torch,
    "bfloat16": steps_bfloat16,
    "int8": steps_int8,
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
