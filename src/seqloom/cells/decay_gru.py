"""Gated recurrent unit whose state fades while nothing happens."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from seqloom.cells.cell import GatedCell
from seqloom.cells.gru import GRUState


class DecayGRU(GatedCell):
    """The GRU with the hidden decay of Che et al. (2018), for steps at irregular times.

        k = exp(-softplus(s) * dt)                          share of the state left after waiting dt
        w = k * h                                           the state after waiting
        r = sigmoid(W_ir x + b_ir + W_hr w + b_hr)          reset gate
        z = sigmoid(W_iz x + b_iz + W_hz w + b_hz)          update gate
        n = tanh(W_in x + b_in + r * (W_hn w + b_hn))       candidate
        h' = (1 - z) * n + z * w

    The first feature of the input is dt, the time since the step before, at least 0; x are the I - 1 others. Each
    unit forgets at a rate of its own, softplus(s) for each unit of time, which is learned. So waiting is exact:
    waiting a and then b is waiting a + b, at dt = 0 this is `torch.nn.GRU`, and another unit of time is another rate.
    That is why it is this cell and not CfC, whose gates are sigmoids of dt and give something else when a gap is
    split; and why the decay has no offset, unlike the paper's. The paper's decay of the inputs is left out: an input
    says itself whether it was observed.

    Weights `weight_ih` (3H, I - 1), `weight_hh` (3H, H), `bias_ih` and `bias_hh` (3H,) are stacked in the order r, z,
    n; `rate` (H,) holds s and begins with softplus(s) between 1 / 100 and 1.
    """

    gates = ("r", "z", "n")
    equations = (
        "k = exp(-softplus(s) * dt)",
        "w = k * h",
        "r = sigmoid(W_ir @ x + b_ir + W_hr @ w + b_hr)",
        "z = sigmoid(W_iz @ x + b_iz + W_hz @ w + b_hz)",
        "n = tanh(W_in @ x + b_in + r * (W_hn @ w + b_hn))",
        "h_next = (1 - z) * n + z * w",
    )
    source = (
        "Che et al., Recurrent neural networks for multivariate time series with missing values, Scientific Reports 8, "
        "2018, equations 10 and 13 without offset"
    )
    reads_elapsed = True

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size - 1, hidden_size)
        self.input_size = input_size
        wanted = torch.exp(torch.empty(hidden_size).uniform_(math.log(0.01), 0.0))
        self.rate = nn.Parameter(torch.log(torch.expm1(wanted)))  # the inverse of softplus

    def signals(self, input: Tensor) -> dict[str, Tensor]:
        """`dt` (..., 1) and `x` (..., I - 1)."""
        return {"dt": input[..., :1], "x": input[..., 1:]}

    def symbols(self) -> dict[str, Tensor]:
        """The GRU's, and `s`."""
        return super().symbols() | {"s": self.rate}

    def initial_state(self, batch_size: int) -> GRUState:
        """Zeros."""
        return GRUState(self.weight_hh.new_zeros(batch_size, self.hidden_size))

    def project(self, input: Tensor) -> Tensor:
        """dt, then `W_i x + b_i` of all gates: (B, T, I) to (B, T, 1 + 3H)."""
        return torch.cat([input[..., :1], super().project(input[..., 1:])], dim=-1)

    def wait(self, state: GRUState, dt: Tensor) -> GRUState:
        """The state after nothing has happened for dt, (B, 1)."""
        return GRUState(torch.exp(-softplus(self.rate) * dt) * state.h)

    def step(self, projected: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
        """One step: projected (B, 1 + 3H) to the output (B, H) and the new state."""
        (w,) = self.wait(state, projected[:, :1])
        x_r, x_z, x_n = projected[:, 1:].chunk(3, dim=-1)
        h_r, h_z, h_n = self.recur(w).chunk(3, dim=-1)
        r = torch.sigmoid(x_r + h_r)
        z = torch.sigmoid(x_z + h_z)
        n = torch.tanh(x_n + r * h_n)
        h = (1 - z) * n + z * w
        return h, GRUState(h)
