"""The minimal gated recurrent unit: gates that do not look back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqloom.cells.cell import LinearCell
from seqloom.cells.gru import GRUState


class MinGRU(LinearCell):
    """The minGRU of Feng et al. (2024), in the space of real numbers.

        z = sigmoid(W_z x + b_z)        how much is new
        n = W_n x + b_n                 candidate
        h' = (1 - z) * h + z * n

    Neither gate nor candidate depends on the past, so the state is linear in its former self. Weights
    `weight_ih` (2H, I) and `bias_ih` (2H,) are stacked in the order z, n.
    """

    equations = (
        "z = sigmoid(W_z @ x + b_z)",
        "n = W_n @ x + b_n",
        "h_next = (1 - z) * h + z * n",
    )
    source = "Feng et al., Were RNNs all we needed?, arXiv 2410.01201, 2024, section 3.1"

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = nn.Parameter(torch.empty(2 * hidden_size, input_size))
        self.bias_ih = nn.Parameter(torch.empty(2 * hidden_size))
        bound = input_size**-0.5 if input_size else 0.0
        for weight in self.parameters():
            nn.init.uniform_(weight, -bound, bound)

    def symbols(self) -> dict[str, Tensor]:
        """`W_z`, `W_n`, `b_z`, `b_n`."""
        W_z, W_n = self.weight_ih.chunk(2)
        b_z, b_n = self.bias_ih.chunk(2)
        return {"W_z": W_z, "W_n": W_n, "b_z": b_z, "b_n": b_n}

    def initial_state(self, batch_size: int) -> GRUState:
        """Zeros."""
        return GRUState(self.weight_ih.new_zeros(batch_size, self.hidden_size))

    def project(self, input: Tensor) -> Tensor:
        """`z` and `n` before the sigmoid, (B, T, I) to (B, T, 2H)."""
        return nn.functional.linear(input, self.weight_ih, self.bias_ih)

    def coefficients(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """`1 - z` and `z * n`, from (..., 2H)."""
        z, n = projected.chunk(2, dim=-1)
        z = torch.sigmoid(z)
        return 1 - z, z * n
