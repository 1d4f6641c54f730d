"""The independently recurrent network: each unit sees its own past and no other's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqloom.cells.cell import Cell
from seqloom.cells.rnn import RNNState


class IndRNN(Cell):
    """The IndRNN of Li et al. (2018): units talk to each other in the next layer, not from step to step.

        h' = relu(W x + b + u * h)

    A gradient reaches back n steps with the factor u ** n of its unit, so |u| ** n can be read off. Weights:
    `weight_ih` (H, I), `bias_ih` (H,), `weight_hh` (H,), which holds u and begins uniform in 0..1. The paper keeps
    |u| under 2 ** (1 / T); here clipped gradients and weight decay do.
    """

    equations = ("h_next = relu(W @ x + b + u * h)",)
    source = "Li et al., Independently recurrent neural network (IndRNN), CVPR 2018, equation 4"

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = nn.Parameter(torch.empty(hidden_size, input_size))
        self.bias_ih = nn.Parameter(torch.zeros(hidden_size))
        self.weight_hh = nn.Parameter(torch.rand(hidden_size))
        bound = input_size**-0.5 if input_size else 0.0
        nn.init.uniform_(self.weight_ih, -bound, bound)

    def symbols(self) -> dict[str, Tensor]:
        """`W`, `b`, `u`."""
        return {"W": self.weight_ih, "b": self.bias_ih, "u": self.weight_hh}

    def initial_state(self, batch_size: int) -> RNNState:
        """Zeros."""
        return RNNState(self.weight_hh.new_zeros(batch_size, self.hidden_size))

    def project(self, input: Tensor) -> Tensor:
        """`W x + b`, (B, T, I) to (B, T, H)."""
        return nn.functional.linear(input, self.weight_ih, self.bias_ih)

    def recur(self, h: Tensor) -> Tensor:
        """`u * h`, (B, H)."""
        return self.weight_hh * h

    def step(self, projected: Tensor, state: RNNState) -> tuple[Tensor, RNNState]:
        """One step: projected (B, H) to the output (B, H) and the new state."""
        h = torch.relu(projected + self.recur(state.h))
        return h, RNNState(h)
