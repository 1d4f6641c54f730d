"""The minimal long short-term memory: gates that do not look back and add up to one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, logsigmoid

from seqloom.cells.cell import LinearCell
from seqloom.cells.gru import GRUState


class MinLSTM(LinearCell):
    """The minLSTM of Feng et al. (2024), in the space of real numbers and independent of the sequence's length.

        f = logsigmoid(W_f x + b_f)     logarithm of the forget gate
        i = logsigmoid(W_i x + b_i)     logarithm of the input gate
        n = W_n x + b_n                 candidate
        k = sigmoid(f - i)              share that is kept
        h' = k * h + (1 - k) * n

    k is the paper's normalised forget gate, exp(f) / (exp(f) + exp(i)), which is never zero by zero this way. Weights
    `weight_ih` (3H, I) and `bias_ih` (3H,) are stacked in the order f, i, n.
    """

    equations = (
        "f = logsigmoid(W_f @ x + b_f)",
        "i = logsigmoid(W_i @ x + b_i)",
        "n = W_n @ x + b_n",
        "k = sigmoid(f - i)",
        "h_next = k * h + (1 - k) * n",
    )
    source = "Feng et al., Were RNNs all we needed?, arXiv 2410.01201, 2024, section 3.2"

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = nn.Parameter(torch.empty(3 * hidden_size, input_size))
        self.bias_ih = nn.Parameter(torch.empty(3 * hidden_size))
        bound = input_size**-0.5 if input_size else 0.0
        for weight in self.parameters():
            nn.init.uniform_(weight, -bound, bound)

    def symbols(self) -> dict[str, Tensor]:
        """`W_f`, `W_i`, `W_n` and their biases."""
        W_f, W_i, W_n = self.weight_ih.chunk(3)
        b_f, b_i, b_n = self.bias_ih.chunk(3)
        return {"W_f": W_f, "W_i": W_i, "W_n": W_n, "b_f": b_f, "b_i": b_i, "b_n": b_n}

    def initial_state(self, batch_size: int) -> GRUState:
        """Zeros."""
        return GRUState(self.weight_ih.new_zeros(batch_size, self.hidden_size))

    def project(self, input: Tensor) -> Tensor:
        """Both gates before their function, and n: (B, T, I) to (B, T, 3H)."""
        return linear(input, self.weight_ih, self.bias_ih)

    def coefficients(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """`k` and `(1 - k) * n`, from (..., 3H)."""
        f, i, n = projected.chunk(3, dim=-1)
        k = torch.sigmoid(logsigmoid(f) - logsigmoid(i))
        return k, (1 - k) * n
