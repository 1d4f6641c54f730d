"""The simple recurrent unit: a memory without recurrent weights under a highway."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqloom.cells.cell import LinearCell


class SRUState(NamedTuple):
    """c: memory, (B, H)."""

    c: Tensor


class SRU(LinearCell):
    """The SRU of Lei & Zhang (2017), whose gates see the input alone.

        u = W_u x                     candidate
        f = sigmoid(W_f x + b_f)      forget gate
        r = sigmoid(W_r x + b_r)      reset gate: memory or input
        s = W_s x                     the input, on the highway
        c' = f * c + (1 - f) * u
        y = r * tanh(c') + (1 - r) * s

    The later paper (EMNLP 2018) lets the gates see c as well; then the memory is no longer linear in itself. The
    paper puts x itself on the highway where it has H features; here it is always mapped. Weights: `weight_ih`
    (4H, I) in the order u, f, r, s, and `bias_ih` (2H,) in the order f, r.
    """

    equations = (
        "u = W_u @ x",
        "f = sigmoid(W_f @ x + b_f)",
        "r = sigmoid(W_r @ x + b_r)",
        "s = W_s @ x",
        "c_next = f * c + (1 - f) * u",
        "y = r * tanh(c_next) + (1 - r) * s",
    )
    output = "y"
    source = "Lei & Zhang, Training RNNs as fast as CNNs, arXiv 1709.02755v1, 2017, equations 3 to 7"

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.bias_ih = nn.Parameter(torch.zeros(2 * hidden_size))
        # Uniform with variance 1/I, as in the paper: candidates keep the variance of the input.
        bound = (3 / input_size) ** 0.5 if input_size else 0.0
        nn.init.uniform_(self.weight_ih, -bound, bound)

    def symbols(self) -> dict[str, Tensor]:
        """`W_u`, `W_f`, `W_r`, `W_s`, `b_f`, `b_r`."""
        W_u, W_f, W_r, W_s = self.weight_ih.chunk(4)
        b_f, b_r = self.bias_ih.chunk(2)
        return {"W_u": W_u, "W_f": W_f, "W_r": W_r, "W_s": W_s, "b_f": b_f, "b_r": b_r}

    def initial_state(self, batch_size: int) -> SRUState:
        """Zeros."""
        return SRUState(self.weight_ih.new_zeros(batch_size, self.hidden_size))

    def project(self, input: Tensor) -> Tensor:
        """u, both gates before the sigmoid, and s: (B, T, I) to (B, T, 4H)."""
        H = self.hidden_size
        return nn.functional.linear(input, self.weight_ih, nn.functional.pad(self.bias_ih, (H, H)))

    def coefficients(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """`f` and `(1 - f) * u`, from (..., 4H)."""
        u, f, _, _ = projected.chunk(4, dim=-1)
        f = torch.sigmoid(f)
        return f, (1 - f) * u

    def readout(self, projected: Tensor, memory: Tensor) -> Tensor:
        """`y`, (..., H)."""
        _, _, r, s = projected.chunk(4, dim=-1)
        r = torch.sigmoid(r)
        return r * torch.tanh(memory) + (1 - r) * s
