"""Single steps in the native kernels, with weights that are packed once: nothing of torch on the way.

The code is that of whole layers, so on one instruction set the steps give, to the bit, what the whole sequence gives,
in float32 and in bfloat16. Weights in eight bits are whole numbers with a scale for each row of a matrix; what they
multiply is rounded to sixteen bits where the processor has an instruction for such products (AVX-512 VNNI), and sums
are exact then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from seqloom.cells.cell import Cell, GatedCell
from seqloom.kernels.native import CELLS, Numbers, extra_weights, library

Array = npt.NDArray[Any]


def why_not(cell: Cell) -> str | None:
    """The reason why the native kernels cannot run this cell's steps, or None."""
    found = library()
    if isinstance(found, str):
        return found
    if type(cell) not in CELLS:
        return f"the native kernels do not know {cell.title}"
    weight = cell.get_parameter("weight_hh")
    if weight.dtype != torch.float32 or weight.device.type != "cpu":
        return f"the native kernels run float32 on the CPU, the weights are {weight.dtype} on {weight.device}"
    return None


def make(cell: Cell, numbers: Numbers = Numbers.FLOAT32) -> Callable[[Array, Sequence[Array]], Array]:
    """A function `step(x, state)`: (B, I) to (B, H), the arrays of the state overwritten."""
    assert isinstance(cell, GatedCell)
    known, size, hidden = CELLS[type(cell)], cell.input_size, cell.hidden_size
    tensors = [cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh, extra_weights(cell)]
    weights = [tensor.detach().contiguous() for tensor in tensors]

    def packed(rows: int) -> Any:
        addresses = [weight.data_ptr() for weight in weights]
        module: Any = library()
        return module.Stepper(known.number, numbers, size, hidden, known.memories, rows, addresses)

    room = cache(packed)  # for 1, 2, 4, 8, ... rows
    steppers = {1: room(1)}  # by rows, found when they come first

    def step(x: Array, state: Sequence[Array]) -> Array:
        rows = len(x)
        stepper = steppers.get(rows)
        if stepper is None:
            stepper = steppers[rows] = room(1 << max(rows - 1, 0).bit_length())
        output = np.empty((rows, hidden), np.float32)
        stepper.step(x, state, output)
        return output

    return step
