"""Long short-term memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from seqloom.cells.cell import GatedCell


class LSTMState(NamedTuple):
    """h: output, (B, H). c: memory, (B, H)."""

    h: Tensor
    c: Tensor


class LSTM(GatedCell):
    """The cell of Hochreiter & Schmidhuber (1997) with the forget gate of Gers et al. (2000), as in `torch.nn.LSTM`.

        i = sigmoid(W_ii x + b_ii + W_hi h + b_hi)      input gate
        f = sigmoid(W_if x + b_if + W_hf h + b_hf)      forget gate
        g = tanh(W_ig x + b_ig + W_hg h + b_hg)         candidate
        o = sigmoid(W_io x + b_io + W_ho h + b_ho)      output gate
        c' = f * c + i * g
        h' = o * tanh(c')

    Weights `weight_ih` (4H, I), `weight_hh` (4H, H), `bias_ih` and `bias_hh` (4H,) are stacked in the order i, f,
    g, o.
    """

    gates = ("i", "f", "g", "o")
    equations = (
        "i = sigmoid(W_ii @ x + b_ii + W_hi @ h + b_hi)",
        "f = sigmoid(W_if @ x + b_if + W_hf @ h + b_hf)",
        "g = tanh(W_ig @ x + b_ig + W_hg @ h + b_hg)",
        "o = sigmoid(W_io @ x + b_io + W_ho @ h + b_ho)",
        "c_next = f * c + i * g",
        "h_next = o * tanh(c_next)",
    )
    source = (
        "Hochreiter & Schmidhuber, Long short-term memory, Neural Computation 9(8), 1997; "
        "forget gate: Gers, Schmidhuber & Cummins, Learning to forget, Neural Computation 12(10), 2000"
    )
    fused = "lstm"

    def initial_state(self, batch_size: int) -> LSTMState:
        """Zeros."""
        zeros = self.weight_hh.new_zeros(batch_size, self.hidden_size)
        return LSTMState(h=zeros, c=zeros)

    def step(self, projected: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """One step: projected (B, 4H) to the output (B, H) and the new state."""
        h, c = state
        i, f, g, o = (projected + self.recur(h)).chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return h, LSTMState(h, c)
