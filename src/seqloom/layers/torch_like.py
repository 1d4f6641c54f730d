"""`LSTM`, `GRU` and `RNN`: torch's layers, which also take `lengths=` and run in the native kernels where they can.

Constructor, shapes, `batch_first`, state-dict keys and accepted inputs are those of `torch.nn`: each class is
torch's own. Float32 tensors on the CPU, packed ones too, go through seqloom's kernels; anything else (other types and
devices, projections, single rows without a batch) is torch's own call.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from seqloom.cells import gru, lstm, relu_rnn, rnn
from seqloom.cells.cell import Cell
from seqloom.kernels import native

# Cells by what torch calls the modes of its layers.
_CELLS: dict[str, type[Cell]] = {
    "LSTM": lstm.LSTM,
    "GRU": gru.GRU,
    "RNN_TANH": rnn.RNN,
    "RNN_RELU": relu_rnn.ReLURNN,
}

State = Any  # (L*D, B, H), or a pair of them for the LSTM, as in torch


class WithLengths(nn.RNNBase):
    """What the three layers add to torch's."""

    def forward(self, input: Any, hx: State = None, *, lengths: Tensor | None = None) -> Any:
        """As the layer of `torch.nn`; see `run_with_lengths` for `lengths`."""
        if lengths is not None:
            return run_with_lengths(self, input, hx, lengths)
        if isinstance(input, PackedSequence) and runs_natively(self, input.data):
            return run_packed(self, input, hx)
        if isinstance(input, Tensor) and input.dim() == 3 and runs_natively(self, input):
            B, T = input.shape[:2] if self.batch_first else (input.shape[1], input.shape[0])
            return run_natively(self, input, hx, torch.full((B,), T))
        return super().forward(input, hx)


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
    if runs_natively(layer, input):
        return run_natively(layer, input, hx, lengths.cpu())
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


def runs_natively(layer: nn.RNNBase, values: Tensor) -> bool:
    """Whether the native kernels can run this layer on such values."""
    if isinstance(native.library(), str) or layer.proj_size or 0 in values.shape:
        return False
    tensors = [values, *layer.parameters()]
    return all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in tensors)


def run_natively(layer: nn.RNNBase, input: Tensor, hx: State, lengths: Tensor) -> tuple[Tensor, State]:
    """As `run_with_lengths`, in the native kernels."""
    parts = 2 if layer.mode == "LSTM" else 1
    number = native.CELLS[_CELLS[layer.mode]].number
    directions = 2 if layer.bidirectional else 1
    shape = (layer.num_layers * directions, len(lengths), layer.hidden_size)
    begin = [input.new_zeros(shape)] * parts if hx is None else list(hx) if parts == 2 else [hx]
    layer.check_forward_args(input, tuple(begin) if parts == 2 else begin[0], None)  # type: ignore[arg-type]
    values, finals = input if layer.batch_first else input.transpose(0, 1), []
    for depth in range(layer.num_layers):
        if depth:
            values = dropout(values, layer.dropout, layer.training)
        outputs = []
        for direction in range(directions):
            place = depth * directions + direction
            state = torch.stack([part[place] for part in begin])
            output, final = native.layer(number, values, lengths, _weights(layer, place), state, reverse=direction == 1)
            outputs.append(output)
            finals.append(final)
        values = outputs[0] if directions == 1 else torch.cat(outputs, dim=-1)
    final = torch.stack(finals, dim=1)
    return values if layer.batch_first else values.transpose(0, 1), tuple(final) if parts == 2 else final[0]


def _weights(layer: nn.RNNBase, place: int) -> list[Tensor]:
    """W_ih, W_hh, b_ih, b_hh and nothing further."""
    found = list(layer.all_weights[place])
    zeros = [found[0].new_zeros(len(found[0]))] * (4 - len(found))
    return [*found, *zeros, found[0].new_zeros(0)]


def run_packed(layer: nn.RNNBase, input: PackedSequence, hx: State) -> tuple[PackedSequence, State]:
    """A packed batch in the native kernels, packed again as it was."""
    padded, lengths = pad_packed_sequence(input, layer.batch_first)
    output, final = run_natively(layer, padded, hx, lengths)
    by_step = output.transpose(0, 1) if layer.batch_first else output
    order = input.sorted_indices
    if order is not None:
        by_step, lengths = by_step[:, order], lengths[order.cpu()]
    valid = torch.arange(len(by_step)).unsqueeze(1) < lengths
    return PackedSequence(by_step[valid], input.batch_sizes, order, input.unsorted_indices), final


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
