"""The same layer twice: torch's and ours, with the same weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqloom.bench.timing import Call
from seqloom.cells.cell import Cell
from seqloom.errors import KernelError
from seqloom.kernels import choose
from seqloom.lookup import find
from seqloom.sequences import Sequences

KINDS: dict[str, Callable[..., nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU}
Layer = Callable[[Sequences], Tensor]


class Pair:
    """A layer of torch and a cell of ours that computes the same.

    Args:
        kind: a key of `KINDS`.
        I: features of a step.
        H: hidden units.
    """

    def __init__(self, kind: str, I: int, H: int) -> None:  # noqa: E741 # the letters of the equations
        self.layer = KINDS[kind](I, H, batch_first=True)
        self.cell = find("cells", kind, Cell)(I, H)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            self.cell.get_parameter(name).data.copy_(self.layer.get_parameter(f"{name}_l0").data)

    def ours(self, input: Sequences) -> Tensor:
        """Our kernel's outputs (B, T, H)."""
        return run(self.cell, input)

    def padded(self, input: Sequences) -> Tensor:
        """torch's outputs (B, T, H), lengths unheeded."""
        output: Tensor = self.layer(input.values)[0]
        return output

    def packed(self, input: Sequences) -> Tensor:
        """torch's outputs (B, T, H) by way of PackedSequence: what it takes to heed lengths."""
        packed = pack_padded_sequence(input.values, input.lengths, batch_first=True, enforce_sorted=False)
        steps = input.values.shape[1]
        output, _ = pad_packed_sequence(self.layer(packed)[0], batch_first=True, total_length=steps)
        return output


def run(cell: Cell, input: Sequences, backend: str = "auto") -> Tensor:
    """Outputs (B, T, H) of the kernel that is chosen for a cell, from the initial state."""
    output, _ = choose(cell, input, backend).kernel.run(cell, input, cell.initial_state(len(input.lengths)))
    values: Tensor = output.values
    return values


def forward(layer: Layer, input: Sequences) -> Call:
    """A call that answers a batch."""

    def call() -> Tensor:
        with torch.inference_mode():
            return layer(input)

    return call


def train(layer: Layer, weights: Sequence[Tensor], input: Sequences, gradient: Tensor) -> Call:
    """A call that goes forward and back; gives the gradients of the input and of the weights."""
    values = input.values.detach().requires_grad_()
    batch = input.with_values(values)
    return lambda: torch.autograd.grad(layer(batch), [values, *weights], gradient)


def flops(cell: Cell, steps: int, *, train: bool) -> float:
    """Operations of the products with weights over so many steps: two for each weight, three times that in training."""
    weights = sum(weight.numel() for weight in cell.parameters() if weight.ndim == 2)
    return (6.0 if train else 2.0) * weights * steps


def require_equal(ours: Call, theirs: Call) -> None:
    """Both must compute the same, or their times are worth nothing.

    Raises:
        KernelError: they do not, beyond rounding.
    """
    for mine, other in zip(_tensors(ours()), _tensors(theirs()), strict=True):
        off = (mine - other).abs().max().item()
        if not off <= 1e-3 * max(other.abs().max().item(), 1.0):
            raise KernelError(
                f"the contenders differ by {off:.3g} in a tensor of shape {tuple(mine.shape)}; times of different "
                "results cannot be compared: please report it"
            )


def _tensors(found: Any) -> Sequence[Tensor]:
    return [found] if isinstance(found, Tensor) else found
