"""torch's own whole-sequence functions (oneDNN on CPU, cuDNN on CUDA) for the cells they know."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from seqloom.cells.cell import Cell
from seqloom.kernels.backwards import backwards
from seqloom.sequences import Sequences


def why_not(cell: Cell, input: Sequences) -> str | None:
    """The reason why torch has no function for this cell and batch, or None."""
    if cell.fused is None:
        return f"torch has no fused function for {cell.title}"
    if 0 in input.values.shape:
        return f"torch's fused functions take no empty batch, got shape {tuple(input.values.shape)}"
    return None


def run(cell: Cell, input: Sequences, state: Any, *, reverse: bool = False) -> tuple[Sequences, Any]:
    """Outputs (B, T, H), zero on padding, and each row's state after its last valid step.

    Rows of equal length run as they are. So do unequal ones where the state is the output: it is read at each row's
    last valid step, and what was computed behind it is thrown away. Others are packed, which is exact and slower. An
    empty row is run on one zero step, since packing forbids emptiness, and then put back to its initial state.
    """
    if reverse:
        return backwards(run, cell, input, state)
    if input.is_full:
        values, final = _call(cell, input.values, state)
        return input.with_values(values), final
    filled = (input.lengths > 0).to(input.values.device).unsqueeze(1)
    values = input.zero_padding().values
    if state._fields == ("h",):
        output = input.with_values(_call(cell, values, state)[0])
        return output.zero_padding(), type(state)(torch.where(filled, output.last(), state.h))
    lengths = input.lengths.clamp(min=1)
    packed = pack_padded_sequence(values, lengths.cpu(), batch_first=True, enforce_sorted=False)
    packed_output, final = _call_packed(cell, packed, state)
    padded, _ = pad_packed_sequence(packed_output, batch_first=True, total_length=values.shape[1])
    final = type(state)(*(torch.where(filled, new, old) for new, old in zip(final, state, strict=True)))
    return input.with_values(padded).zero_padding(), final


def _weights(cell: Cell) -> list[Tensor]:
    return [cell.get_parameter(name) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]


def _states(cell: Cell, state: Any) -> Any:
    """torch wants (1, B, H), and a bare tensor where there is only one."""
    stacked = [part.unsqueeze(0).contiguous() for part in state]
    return tuple(stacked) if cell.fused == "lstm" else stacked[0]


def _call(cell: Cell, values: Tensor, state: Any) -> tuple[Tensor, Any]:
    function = getattr(torch, str(cell.fused))
    # Arguments: has_biases, num_layers, dropout, train, bidirectional, batch_first.
    output, *final = function(values, _states(cell, state), _weights(cell), True, 1, 0.0, cell.training, False, True)
    return output, type(state)(*(part.squeeze(0) for part in final))


def _call_packed(cell: Cell, packed: PackedSequence, state: Any) -> tuple[PackedSequence, Any]:
    function = getattr(torch, str(cell.fused))
    order = packed.sorted_indices
    sorted_state = type(state)(*(part[order] for part in state))
    # Arguments: has_biases, num_layers, dropout, train, bidirectional.
    data, *final = function(
        packed.data,
        packed.batch_sizes,
        _states(cell, sorted_state),
        _weights(cell),
        True,
        1,
        0.0,
        cell.training,
        False,
    )
    output = PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
    back = packed.unsorted_indices
    return output, type(state)(*(part.squeeze(0)[back] for part in final))
