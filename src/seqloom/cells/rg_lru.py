"""The real-gated linear recurrent unit of Griffin."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, logsigmoid

from seqloom.cells.cell import LinearCell

_POWER = 8  # the paper's c


class RGLRUState(NamedTuple):
    """h: output, (B, H)."""

    h: Tensor


class RGLRU(LinearCell):
    """The RG-LRU of De et al. (2024): each unit has a decay of its own, and gates move it towards keeping all.

        r = sigmoid(W_r x + b_r)                recurrence gate
        i = sigmoid(W_i x + b_i)                input gate
        u = W_u x + b_u                         candidate
        a = exp(8 * r * logsigmoid(p))          sigmoid(p) to the power of 8 r
        h' = a * h + sqrt(1 - a ** 2) * (i * u)

    In the paper the input has H features and stands where u does, after the block's linear layer, and the gates
    read u; here that layer is part of the cell, and gates read x, so that any I will do. The root keeps the variance
    of the state. Weights: `weight_ih` (3H, I) and `bias_ih` (3H,) in the order r, i, u; `decay` (H,) holds p and
    begins so that sigmoid(p) ** 8 is uniform in 0.9..0.999.
    """

    equations = (
        "r = sigmoid(W_r @ x + b_r)",
        "i = sigmoid(W_i @ x + b_i)",
        "u = W_u @ x + b_u",
        "a = exp(8 * r * logsigmoid(p))",
        "h_next = a * h + sqrt(1 - a ** 2) * (i * u)",
    )
    source = (
        "De et al., Griffin: Mixing gated linear recurrences with local attention, arXiv 2402.19427, 2024, eq. 1 to 4"
    )

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = nn.Parameter(torch.empty(3 * hidden_size, input_size))
        self.bias_ih = nn.Parameter(torch.zeros(3 * hidden_size))
        bound = input_size**-0.5 if input_size else 0.0
        nn.init.uniform_(self.weight_ih, -bound, bound)
        kept = torch.empty(hidden_size).uniform_(0.9, 0.999)
        self.decay = nn.Parameter(torch.logit(kept ** (1 / _POWER)))

    def symbols(self) -> dict[str, Tensor]:
        """`W_r`, `W_i`, `W_u`, their biases, and `p`."""
        W_r, W_i, W_u = self.weight_ih.chunk(3)
        b_r, b_i, b_u = self.bias_ih.chunk(3)
        return {"W_r": W_r, "W_i": W_i, "W_u": W_u, "b_r": b_r, "b_i": b_i, "b_u": b_u, "p": self.decay}

    def initial_state(self, batch_size: int) -> RGLRUState:
        """Zeros."""
        return RGLRUState(self.weight_ih.new_zeros(batch_size, self.hidden_size))

    def project(self, input: Tensor) -> Tensor:
        """Both gates before the sigmoid, and u: (B, T, I) to (B, T, 3H)."""
        return linear(input, self.weight_ih, self.bias_ih)

    def coefficients(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """`a` and `sqrt(1 - a ** 2) * (i * u)`, from (..., 3H)."""
        r, i, u = projected.chunk(3, dim=-1)
        log_a = _POWER * torch.sigmoid(r) * logsigmoid(self.decay)
        # expm1 keeps the digits of 1 - a ** 2 near a = 1; the bound keeps the root's slope finite at 0.
        rest = -torch.expm1(2 * log_a)
        root = torch.sqrt(rest.clamp(min=torch.finfo(rest.dtype).tiny))
        return torch.exp(log_a), root * (torch.sigmoid(i) * u)
