"""Long short-term memory with layer normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear

from seqloom.cells.cell import GatedCell
from seqloom.cells.lstm import LSTMState


class LayerNormLSTM(GatedCell):
    """The LSTM of Ba, Kiros & Hinton (2016): three norms, in the input, in the recurrence and before the output.

        u = norm(W_i x)                                       all four gates at once, (4H,)
        v = norm(W_h h)                                       all four gates at once, (4H,)
        i = sigmoid(a_ii * u[i] + b_ii + a_hi * v[i] + b_hi)  input gate
        f = sigmoid(a_if * u[f] + b_if + a_hf * v[f] + b_hf)  forget gate
        g = tanh(a_ig * u[g] + b_ig + a_hg * v[g] + b_hg)     candidate
        o = sigmoid(a_io * u[o] + b_io + a_ho * v[o] + b_ho)  output gate
        c' = f * c + i * g
        h' = o * tanh(a_c * norm(c') + b_c)

    `norm(v) = (v - mean(v)) / sqrt(var(v) + 1e-5)` over the features of one row and one step; the variance is the
    biased one. u and v are normalised as one vector each, before gain and shift, as in the paper. The memory that is
    carried on is c' itself; only what the output reads of it is normalised.

    Weights `weight_ih` (4H, I) and `weight_hh` (4H, H) are stacked in the order i, f, g, o. `gain_ih` and `gain_hh`
    (4H,) hold a_i and a_h; `bias_ih` and `bias_hh` (4H,) are the shifts of the two norms (the paper's further bias is
    their sum). `gain_c` and `bias_c` (H,) are those of the memory. Gains begin at one, shifts at zero.
    """

    gates = ("i", "f", "g", "o")
    equations = (
        "u = norm(W_i @ x)",
        "v = norm(W_h @ h)",
        "i = sigmoid(a_ii * u.i + b_ii + a_hi * v.i + b_hi)",
        "f = sigmoid(a_if * u.f + b_if + a_hf * v.f + b_hf)",
        "g = tanh(a_ig * u.g + b_ig + a_hg * v.g + b_hg)",
        "o = sigmoid(a_io * u.o + b_io + a_ho * v.o + b_ho)",
        "c_next = f * c + i * g",
        "h_next = o * tanh(a_c * norm(c_next) + b_c)",
    )
    source = "Ba, Kiros & Hinton, Layer normalization, arXiv 1607.06450, 2016, equations 20 to 22"

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.gain_ih = nn.Parameter(torch.ones(4 * hidden_size))
        self.gain_hh = nn.Parameter(torch.ones(4 * hidden_size))
        self.gain_c = nn.Parameter(torch.ones(hidden_size))
        self.bias_c = nn.Parameter(torch.zeros(hidden_size))
        nn.init.zeros_(self.bias_ih)
        nn.init.zeros_(self.bias_hh)

    def symbols(self) -> dict[str, Tensor]:
        """`W_i` and `W_h` whole, gains and shifts by gate, `a_c`, `b_c`."""
        stacked = {"a_i": self.gain_ih, "a_h": self.gain_hh, "b_i": self.bias_ih, "b_h": self.bias_hh}
        whole = {"W_i": self.weight_ih, "W_h": self.weight_hh, "a_c": self.gain_c, "b_c": self.bias_c}
        return whole | self.by_gate(stacked)

    def initial_state(self, batch_size: int) -> LSTMState:
        """Zeros."""
        zeros = self.weight_hh.new_zeros(batch_size, self.hidden_size)
        return LSTMState(h=zeros, c=zeros)

    def project(self, input: Tensor) -> Tensor:
        """`a_i * u + b_i` of all gates, (B, T, I) to (B, T, 4H)."""
        return layer_norm(linear(input, self.weight_ih), self.bias_ih.shape, self.gain_ih, self.bias_ih)

    def recur(self, h: Tensor) -> Tensor:
        """`a_h * v + b_h` of all gates, (B, H) to (B, 4H)."""
        return layer_norm(linear(h, self.weight_hh), self.bias_hh.shape, self.gain_hh, self.bias_hh)

    def step(self, projected: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """One step: projected (B, 4H) to the output (B, H) and the new state."""
        h, c = state
        i, f, g, o = (projected + self.recur(h)).chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(layer_norm(c, self.gain_c.shape, self.gain_c, self.bias_c))
        return h, LSTMState(h, c)
