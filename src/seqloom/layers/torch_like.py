"""`LSTM`, `GRU` and `RNN`: torch's layers, which also take `lengths=`.

Constructor, shapes, `batch_first`, state-dict keys and accepted inputs are those of `torch.nn`: each class is
torch's own, and a call without `lengths` is torch's own call.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

State = Any  # (L*D, B, H), or a pair of them for the LSTM, as in torch


class WithLengths(nn.RNNBase):
    """What the three layers add to torch's."""

    def forward(self, input: Any, hx: State = None, *, lengths: Tensor | None = None) -> Any:
        """As the layer of `torch.nn`; see `run_with_lengths` for `lengths`."""
        return super().forward(input, hx) if lengths is None else run_with_lengths(self, input, hx, lengths)


class LSTM(WithLengths, nn.LSTM):
    """`torch.nn.LSTM` with lengths."""


class GRU(WithLengths, nn.GRU):
    """`torch.nn.GRU` with lengths."""


class RNN(WithLengths, nn.RNN):
    """`torch.nn.RNN` with lengths."""


def run_with_lengths(layer: nn.RNNBase, input: Tensor, hx: State, lengths: Tensor) -> tuple[Tensor, State]:
    """A layer over rows of unequal length.

    Args:
        layer: one of the classes above.
        input: (B, T, I) if `batch_first`, else (T, B, I).
        hx: initial state as in torch, zeros where omitted.
        lengths: (B,) int64 in any order, each in 0..T.

    Returns:
        Outputs shaped like torch's, zero beyond each row's length, and the state after each row's last valid
        step, which for an empty row is its initial state. The reverse direction starts at the true end.

    Raises:
        TypeError: `input` is packed already, or lengths are no int64.
        ValueError: lengths do not fit the input.
    """
    steps = _check(layer, input, lengths)
    filled = lengths > 0
    # Packing takes no empty rows and must not see what padding holds: NaN would reach the gradients.
    time = 1 if layer.batch_first else 0
    valid = torch.arange(steps, device=input.device) < lengths.to(input.device).unsqueeze(1)
    mask = (valid if layer.batch_first else valid.t()).unsqueeze(-1)
    clean = torch.where(mask, input, input.new_zeros(()))
    packed = pack_padded_sequence(clean, lengths.clamp(min=1).cpu(), layer.batch_first, enforce_sorted=False)
    output, final = layer(packed, hx)
    padded, _ = pad_packed_sequence(output, layer.batch_first, total_length=input.shape[time])
    return torch.where(mask, padded, padded.new_zeros(())), _keep_empty(final, hx, filled.to(input.device))


def _check(layer: nn.RNNBase, input: Any, lengths: Tensor) -> int:
    """The number of steps T."""
    if isinstance(input, PackedSequence):
        raise TypeError("a PackedSequence knows its lengths; pass it without lengths=, or pass the padded tensor")
    if lengths.dtype != torch.int64:
        raise TypeError(f"lengths are {lengths.dtype}; expected absolute step counts as torch.int64")
    B, T = input.shape[:2] if layer.batch_first else (input.shape[1], input.shape[0])
    if lengths.shape != (B,) or bool(((lengths < 0) | (lengths > T)).any()):
        raise ValueError(f"lengths are {lengths.tolist()}; expected {B} numbers, each in 0..{T}")
    return int(T)


def _keep_empty(final: State, hx: State, filled: Tensor) -> State:
    """The final state, with the initial one of rows that have no step."""
    if isinstance(final, tuple):
        initial = hx if hx is not None else (None,) * len(final)
        return tuple(_keep_empty(part, first, filled) for part, first in zip(final, initial, strict=True))
    before = final.new_zeros(()) if hx is None else hx
    return torch.where(filled.reshape(1, -1, 1), final, before)
