"""Long short-term memory whose gates see the memory itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqloom.cells.cell import GatedCell
from seqloom.cells.lstm import LSTMState


class PeepholeLSTM(GatedCell):
    """The LSTM with peepholes of Gers, Schraudolph & Schmidhuber (2002): it can count and time.

        i = sigmoid(W_ii x + b_ii + W_hi h + b_hi + p_i * c)
        f = sigmoid(W_if x + b_if + W_hf h + b_hf + p_f * c)
        g = tanh(W_ig x + b_ig + W_hg h + b_hg)
        c' = f * c + i * g
        o = sigmoid(W_io x + b_io + W_ho h + b_ho + p_o * c')
        h' = o * tanh(c')

    Weights `weight_ih` (4H, I), `weight_hh` (4H, H), `bias_ih` and `bias_hh` (4H,) are stacked in the order i, f,
    g, o as in the LSTM; `peephole` (3, H) holds p_i, p_f, p_o.
    """

    gates = ("i", "f", "g", "o")
    equations = (
        "i = sigmoid(W_ii @ x + b_ii + W_hi @ h + b_hi + p_i * c)",
        "f = sigmoid(W_if @ x + b_if + W_hf @ h + b_hf + p_f * c)",
        "g = tanh(W_ig @ x + b_ig + W_hg @ h + b_hg)",
        "c_next = f * c + i * g",
        "o = sigmoid(W_io @ x + b_io + W_ho @ h + b_ho + p_o * c_next)",
        "h_next = o * tanh(c_next)",
    )
    source = (
        "Gers, Schraudolph & Schmidhuber, Learning precise timing with LSTM recurrent networks, "
        "Journal of Machine Learning Research 3, 2002"
    )

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.peephole = nn.Parameter(torch.empty(3, hidden_size))
        self.reset_parameters()

    def symbols(self) -> dict[str, Tensor]:
        """The LSTM's, and the peepholes."""
        return super().symbols() | dict(zip(("p_i", "p_f", "p_o"), self.peephole, strict=True))

    def initial_state(self, batch_size: int) -> LSTMState:
        """Zeros."""
        zeros = self.weight_hh.new_zeros(batch_size, self.hidden_size)
        return LSTMState(h=zeros, c=zeros)

    def step(self, projected: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """One step: projected (B, 4H) to the output (B, H) and the new state."""
        h, c = state
        i, f, g, o = (projected + self.recur(h)).chunk(4, dim=-1)
        p_i, p_f, p_o = self.peephole
        c = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
        h = torch.sigmoid(o + p_o * c) * torch.tanh(c)
        return h, LSTMState(h, c)
