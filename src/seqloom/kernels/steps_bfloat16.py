"""The native steps with products in bfloat16, whose weights are half as long to read as float32; see `steps_int8`.

To the bit what a whole layer gives that multiplies bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy.typing as npt

from seqloom.cells.cell import Cell
from seqloom.kernels import steps_native
from seqloom.kernels.native import Numbers
from seqloom.kernels.steps_native import why_not

__all__ = ["make", "why_not"]


def make(cell: Cell) -> Callable[[npt.NDArray[Any], Sequence[npt.NDArray[Any]]], npt.NDArray[Any]]:
    """A function `step(x, state)`: (B, I) to (B, H), the arrays of the state overwritten."""
    return steps_native.make(cell, Numbers.BFLOAT16)
