"""The native steps with weights in eight bits: whole numbers, with a scale for each row of a weight matrix.

A step of a large layer waits for its weights to be read, and these are a quarter as long. What they multiply is rounded
to sixteen bits where the processor has an instruction for such products (AVX-512 VNNI); sums are exact then. States
and the cell's arithmetic stay float32. Answers differ from those of the full weights (`seqloom.layers.live.rounding`
says by how much), so this is never chosen by itself.
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
    return steps_native.make(cell, Numbers.INT8)
