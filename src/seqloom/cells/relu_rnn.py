"""The simple recurrent network with rectified units."""

from __future__ import annotations

import torch
from torch import Tensor

from seqloom.cells.cell import GatedCell
from seqloom.cells.rnn import RNNState


class ReLURNN(GatedCell):
    """The network of Elman (1990) as `torch.nn.RNN` with `nonlinearity="relu"`.

        h' = relu(W_ih x + b_ih + W_hh h + b_hh)

    Nothing bounds h: it needs clipped gradients, and begins well with `core.orthogonal: true` (Le et al. begin with
    the identity). Weights: `weight_ih` (H, I), `weight_hh` (H, H), `bias_ih` and `bias_hh` (H,).
    """

    gates = ("h",)
    equations = ("h_next = relu(W_ih @ x + b_ih + W_hh @ h + b_hh)",)
    source = (
        "Elman, Finding structure in time, Cognitive Science 14(2), 1990; rectified: Le, Jaitly & Hinton, A simple way "
        "to initialize recurrent networks of rectified linear units, arXiv 1504.00941, 2015"
    )
    fused = "rnn_relu"

    def initial_state(self, batch_size: int) -> RNNState:
        """Zeros."""
        return RNNState(self.weight_hh.new_zeros(batch_size, self.hidden_size))

    def step(self, projected: Tensor, state: RNNState) -> tuple[Tensor, RNNState]:
        """One step: projected (B, H) to the output (B, H) and the new state."""
        h = torch.relu(projected + self.recur(state.h))
        return h, RNNState(h)
