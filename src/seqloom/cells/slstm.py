"""Long short-term memory with exponential gates."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from seqloom.cells.cell import GatedCell


class SLSTMState(NamedTuple):
    """h: output, c: memory, n: normaliser, m: stabiliser, each (B, H). c and n are kept divided by exp(m)."""

    h: Tensor
    c: Tensor
    n: Tensor
    m: Tensor


class SLSTM(GatedCell):
    """The sLSTM of Beck et al. (2024), with one head: an input gate without a ceiling can revise what was stored.

        i = W_ii x + b_ii + W_hi h + b_hi                logarithm of the input gate
        f = logsigmoid(W_if x + b_if + W_hf h + b_hf)    logarithm of the forget gate
        z = tanh(W_iz x + b_iz + W_hz h + b_hz)          candidate
        o = sigmoid(W_io x + b_io + W_ho h + b_ho)       output gate
        m' = max(f + m, i)                               stabiliser
        k = exp(f + m - m')                              forget gate, stabilised
        w = exp(i - m')                                  input gate, stabilised
        c' = k * c + w * z
        n' = k * n + w
        h' = o * c' / n'

    Without the stabiliser this is c' = exp(f) c + exp(i) z, n' = exp(f) n + exp(i): m cancels in c' / n' and keeps
    both in range, since one of k and w is always 1. Of the paper's two forget gates it is the sigmoid. Where n' is
    zero, which takes a first input gate below the smallest number, nothing was stored and h' is zero.

    Weights `weight_ih` (4H, I), `weight_hh` (4H, H), `bias_ih` and `bias_hh` (4H,) are stacked in the order i, f,
    z, o.
    """

    gates = ("i", "f", "z", "o")
    equations = (
        "i = W_ii @ x + b_ii + W_hi @ h + b_hi",
        "f = logsigmoid(W_if @ x + b_if + W_hf @ h + b_hf)",
        "z = tanh(W_iz @ x + b_iz + W_hz @ h + b_hz)",
        "o = sigmoid(W_io @ x + b_io + W_ho @ h + b_ho)",
        "m_next = max(f + m, i)",
        "k = exp(f + m - m_next)",
        "w = exp(i - m_next)",
        "c_next = k * c + w * z",
        "n_next = k * n + w",
        "h_next = o * c_next / n_next",
    )
    bookkeeping = ("n", "m")
    source = "Beck et al., xLSTM: Extended long short-term memory, NeurIPS 2024, equations 8 to 17"

    def initial_state(self, batch_size: int) -> SLSTMState:
        """Zeros: nothing is stored, so its scale does not matter."""
        zeros = self.weight_hh.new_zeros(batch_size, self.hidden_size)
        return SLSTMState(h=zeros, c=zeros, n=zeros, m=zeros)

    def step(self, projected: Tensor, state: SLSTMState) -> tuple[Tensor, SLSTMState]:
        """One step: projected (B, 4H) to the output (B, H) and the new state."""
        h, c, n, m = state
        i, f, z, o = (projected + self.recur(h)).chunk(4, dim=-1)
        kept = logsigmoid(f) + m
        m = torch.maximum(kept, i)
        k, w = torch.exp(kept - m), torch.exp(i - m)
        c = k * c + w * torch.tanh(z)
        n = k * n + w
        h = torch.sigmoid(o) * c / torch.where(n == 0, 1, n)
        return h, SLSTMState(h, c, n, m)

    def blend(self, old: SLSTMState, new: SLSTMState, share: SLSTMState) -> SLSTMState:
        """The mean of h, and of memory and normaliser on one scale; both take the memory's share."""
        part = share.c
        m = torch.where(part >= 1, old.m, torch.where(part <= 0, new.m, torch.maximum(old.m, new.m)))
        k = part * torch.exp((old.m - m).clamp(max=0))
        w = (1 - part) * torch.exp((new.m - m).clamp(max=0))
        return SLSTMState(torch.lerp(new.h, old.h, share.h), k * old.c + w * new.c, k * old.n + w * new.n, m)
