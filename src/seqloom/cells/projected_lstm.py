"""Long short-term memory with a narrow output."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqloom.cells.cell import GatedCell
from seqloom.cells.lstm import LSTMState
from seqloom.errors import UsageError


class ProjectedLSTM(GatedCell):
    """The LSTM of Sak, Senior & Beaufays (2014), as `torch.nn.LSTM` with `proj_size`: a wide memory, a narrow output.

        i = sigmoid(W_ii x + b_ii + W_hi h + b_hi)      input gate
        f = sigmoid(W_if x + b_if + W_hf h + b_hf)      forget gate
        g = tanh(W_ig x + b_ig + W_hg h + b_hg)         candidate
        o = sigmoid(W_io x + b_io + W_ho h + b_ho)      output gate
        c' = f * c + i * g
        h' = W_hr (o * tanh(c'))

    With P = proj_size, h is (B, P) and c (B, H). Weights `weight_ih` (4H, I), `weight_hh` (4H, P), `bias_ih`
    and `bias_hh` (4H,) are stacked in the order i, f, g, o; `weight_hr` (P, H) makes the output.

    Args:
        input_size: features I.
        hidden_size: features H of the memory.
        proj_size: features P of the output, 1 to H; omitted: H.

    Raises:
        UsageError: proj_size is out of range.
    """

    gates = ("i", "f", "g", "o")
    equations = (
        "i = sigmoid(W_ii @ x + b_ii + W_hi @ h + b_hi)",
        "f = sigmoid(W_if @ x + b_if + W_hf @ h + b_hf)",
        "g = tanh(W_ig @ x + b_ig + W_hg @ h + b_hg)",
        "o = sigmoid(W_io @ x + b_io + W_ho @ h + b_ho)",
        "c_next = f * c + i * g",
        "h_next = W_hr @ (o * tanh(c_next))",
    )
    source = (
        "Sak, Senior & Beaufays, Long short-term memory recurrent neural network architectures for large scale "
        "acoustic modeling, Interspeech 2014"
    )

    def __init__(self, input_size: int, hidden_size: int, *, proj_size: int | None = None) -> None:
        super().__init__(input_size, hidden_size)
        self.proj_size = hidden_size if proj_size is None else proj_size
        if not 1 <= self.proj_size <= max(hidden_size, 1):
            raise UsageError(f"proj_size is {proj_size}; expected 1 to {hidden_size}, the hidden_size it narrows")
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden_size, self.proj_size))
        self.weight_hr = nn.Parameter(torch.empty(self.proj_size, hidden_size))
        self.reset_parameters()

    @property
    def output_size(self) -> int:
        """P."""
        return self.proj_size

    def symbols(self) -> dict[str, Tensor]:
        """The LSTM's, and `W_hr`."""
        return super().symbols() | {"W_hr": self.weight_hr}

    def initial_state(self, batch_size: int) -> LSTMState:
        """Zeros."""
        h = self.weight_hh.new_zeros(batch_size, self.proj_size)
        return LSTMState(h=h, c=self.weight_hh.new_zeros(batch_size, self.hidden_size))

    def step(self, projected: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """One step: projected (B, 4H) to the output (B, P) and the new state."""
        h, c = state
        i, f, g, o = (projected + self.recur(h)).chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = nn.functional.linear(torch.sigmoid(o) * torch.tanh(c), self.weight_hr)
        return h, LSTMState(h, c)
