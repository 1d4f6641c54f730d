"""Gated recurrent unit."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from seqloom.cells.cell import GatedCell


class GRUState(NamedTuple):
    """h: output, (B, H)."""

    h: Tensor


class GRU(GatedCell):
    """The cell of Cho et al. (2014) with the reset after the product, as in `torch.nn.GRU`.

        r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)          reset gate
        z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)          update gate
        n = tanh(W_in x + b_in + r * (W_hn h + b_hn))       candidate
        h' = (1 - z) * n + z * h

    Weights `weight_ih` (3H, I), `weight_hh` (3H, H), `bias_ih` and `bias_hh` (3H,) are stacked in the order r, z,
    n.
    """

    gates = ("r", "z", "n")
    equations = (
        "r = sigmoid(W_ir @ x + b_ir + W_hr @ h + b_hr)",
        "z = sigmoid(W_iz @ x + b_iz + W_hz @ h + b_hz)",
        "n = tanh(W_in @ x + b_in + r * (W_hn @ h + b_hn))",
        "h_next = (1 - z) * n + z * h",
    )
    source = (
        "Cho et al., Learning phrase representations using RNN encoder-decoder, EMNLP 2014; "
        "reset after the product as in cuDNN"
    )
    fused = "gru"

    def initial_state(self, batch_size: int) -> GRUState:
        """Zeros."""
        return GRUState(self.weight_hh.new_zeros(batch_size, self.hidden_size))

    def step(self, projected: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
        """One step: projected (B, 3H) to the output (B, H) and the new state."""
        (h,) = state
        x_r, x_z, x_n = projected.chunk(3, dim=-1)
        h_r, h_z, h_n = self.recur(h).chunk(3, dim=-1)
        r = torch.sigmoid(x_r + h_r)
        z = torch.sigmoid(x_z + h_z)
        n = torch.tanh(x_n + r * h_n)
        h = (1 - z) * n + z * h
        return h, GRUState(h)
