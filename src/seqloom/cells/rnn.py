"""The simple recurrent network."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from seqloom.cells.cell import GatedCell


class RNNState(NamedTuple):
    """h: output, (B, H)."""

    h: Tensor


class RNN(GatedCell):
    """The network of Elman (1990), as `torch.nn.RNN` with tanh.

        h' = tanh(W_ih x + b_ih + W_hh h + b_hh)

    Weights: `weight_ih` (H, I), `weight_hh` (H, H), `bias_ih` and `bias_hh` (H,).
    """

    gates = ("h",)
    equations = ("h_next = tanh(W_ih @ x + b_ih + W_hh @ h + b_hh)",)
    source = "Elman, Finding structure in time, Cognitive Science 14(2), 1990"
    fused = "rnn_tanh"

    def initial_state(self, batch_size: int) -> RNNState:
        """Zeros."""
        return RNNState(self.weight_hh.new_zeros(batch_size, self.hidden_size))

    def step(self, projected: Tensor, state: RNNState) -> tuple[Tensor, RNNState]:
        """One step: projected (B, H) to the output (B, H) and the new state."""
        h = torch.tanh(projected + self.recur(state.h))
        return h, RNNState(h)
