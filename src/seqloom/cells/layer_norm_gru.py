"""Gated recurrent unit with layer normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear

from seqloom.cells.cell import GatedCell
from seqloom.cells.gru import GRUState


class LayerNormGRU(GatedCell):
    """The GRU of Ba, Kiros & Hinton (2016): four norms, two for both gates at once and two for the candidate.

        u = norm(W_irz x)                                     both gates at once, (2H,)
        v = norm(W_hrz h)                                     both gates at once, (2H,)
        r = sigmoid(a_ir * u[r] + b_ir + a_hr * v[r] + b_hr)  reset gate
        z = sigmoid(a_iz * u[z] + b_iz + a_hz * v[z] + b_hz)  update gate
        n = tanh(a_in * norm(W_in x) + b_in + r * (a_hn * norm(W_hn h) + b_hn))
        h' = (1 - z) * n + z * h

    `norm(v) = (v - mean(v)) / sqrt(var(v) + 1e-5)` over the features of one row and one step; the variance is the
    biased one. z keeps the past, as in `torch.nn.GRU`; in the paper it is the share that is new.

    Weights `weight_ih` (3H, I) and `weight_hh` (3H, H) are stacked in the order r, z, n, and so are all vectors.
    `gain_ih` and `gain_hh` (3H,) hold a_i and a_h; `bias_ih` and `bias_hh` (3H,) are the shifts of the norms. Gains
    begin at one, shifts at zero.
    """

    gates = ("r", "z", "n")
    equations = (
        "u = norm(W_irz @ x)",
        "v = norm(W_hrz @ h)",
        "r = sigmoid(a_ir * u.r + b_ir + a_hr * v.r + b_hr)",
        "z = sigmoid(a_iz * u.z + b_iz + a_hz * v.z + b_hz)",
        "n = tanh(a_in * norm(W_in @ x) + b_in + r * (a_hn * norm(W_hn @ h) + b_hn))",
        "h_next = (1 - z) * n + z * h",
    )
    source = "Ba, Kiros & Hinton, Layer normalization, arXiv 1607.06450, 2016, equations 27 to 29"

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.gain_ih = nn.Parameter(torch.ones(3 * hidden_size))
        self.gain_hh = nn.Parameter(torch.ones(3 * hidden_size))
        nn.init.zeros_(self.bias_ih)
        nn.init.zeros_(self.bias_hh)

    def symbols(self) -> dict[str, Tensor]:
        """`W_irz` and `W_hrz` of both gates, `W_in` and `W_hn`; gains and shifts by gate."""
        H = self.hidden_size
        stacked = {"a_i": self.gain_ih, "a_h": self.gain_hh, "b_i": self.bias_ih, "b_h": self.bias_hh}
        W_irz, W_in = torch.split(self.weight_ih, [2 * H, H])
        W_hrz, W_hn = torch.split(self.weight_hh, [2 * H, H])
        return {"W_irz": W_irz, "W_hrz": W_hrz, "W_in": W_in, "W_hn": W_hn} | self.by_gate(stacked)

    def initial_state(self, batch_size: int) -> GRUState:
        """Zeros."""
        return GRUState(self.weight_hh.new_zeros(batch_size, self.hidden_size))

    def project(self, input: Tensor) -> Tensor:
        """Gain, norm and shift of `W_i x`, (B, T, I) to (B, T, 3H)."""
        return self._norms(linear(input, self.weight_ih), self.gain_ih, self.bias_ih)

    def recur(self, h: Tensor) -> Tensor:
        """Gain, norm and shift of `W_h h`, (B, H) to (B, 3H)."""
        return self._norms(linear(h, self.weight_hh), self.gain_hh, self.bias_hh)

    def _norms(self, stacked: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        """r and z are normalised together, n by itself."""
        sizes = [2 * self.hidden_size, self.hidden_size]
        parts, gains, shifts = (torch.split(whole, sizes, dim=-1) for whole in (stacked, gain, shift))
        normed = [layer_norm(part, a.shape, a, b) for part, a, b in zip(parts, gains, shifts, strict=True)]
        return torch.cat(normed, dim=-1)

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
