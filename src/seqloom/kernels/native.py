"""Our own kernels on the CPU: whole layers of gated cells over ragged batches, without padding, sorting or packing.

The arithmetic is in `csrc/`. Here it becomes two operators of `torch.library`, with their gradients registered
outside, so that `torch.compile` keeps a layer whole. In float32 on one instruction set a row's result does not
depend, to the bit, on its neighbours in the batch, on padding, on chunks or on the number of threads.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from enum import IntEnum
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqloom.casting import casts_to_bfloat16
from seqloom.cells.cell import Cell, GatedCell
from seqloom.cells.gru import GRU
from seqloom.cells.layer_norm_gru import LayerNormGRU
from seqloom.cells.layer_norm_lstm import LayerNormLSTM
from seqloom.cells.lstm import LSTM
from seqloom.cells.peephole_lstm import PeepholeLSTM
from seqloom.cells.relu_rnn import ReLURNN
from seqloom.cells.rnn import RNN
from seqloom.cells.slstm import SLSTM
from seqloom.errors import KernelError
from seqloom.sequences import Sequences


class Native(NamedTuple):
    """What the native code knows of a cell.

    Attributes:
        number: its place in `enum SeqloomCell` of csrc/seqloom.h.
        memories: parts of its state besides h.
        extras: names of its weights beyond torch's, each (n, H) or (H,).
    """

    number: int
    memories: int
    extras: tuple[str, ...] = ()


# A class derived from one of these may step differently, so only these very classes count.
CELLS: dict[type[Cell], Native] = {
    LSTM: Native(0, 1),
    GRU: Native(1, 0),
    RNN: Native(2, 0),
    ReLURNN: Native(3, 0),
    PeepholeLSTM: Native(4, 1, ("peephole",)),
    SLSTM: Native(5, 3),
    LayerNormLSTM: Native(6, 1, ("gain_ih", "gain_hh", "gain_c", "bias_c")),
    LayerNormGRU: Native(7, 0, ("gain_ih", "gain_hh")),
}


ROWS_FOR_TILES = 16  # as many as one of them has


class Numbers(IntEnum):
    """What products multiply, as in `enum SeqloomNumbers` of csrc/seqloom.h; `INT8` is for single steps alone.

    With `BFLOAT16` what enters a product is rounded; sums, states and the cell's own arithmetic stay float32. The
    `TILES` are for whole layers: the processor's tiles multiply bfloat16, of which float32 takes three parts and is as
    exact as before, but not to the same bits (csrc/tiles.hpp).
    """

    FLOAT32 = 0
    BFLOAT16 = 1
    INT8 = 2
    FLOAT32_TILES = 3
    BFLOAT16_TILES = 4


@cache
def library() -> ModuleType | str:
    """The compiled module, or why there is none."""
    try:
        return importlib.import_module("seqloom.kernels._native")
    except ImportError as error:
        return f"the native kernels are not compiled here ({error}); install seqloom again with a C++ compiler at hand"


def why_not(cell: Cell, input: Sequences) -> str | None:
    """The reason why the native kernels cannot run this cell and batch, or None."""
    found = library()
    if isinstance(found, str):
        return found
    if type(cell) not in CELLS:
        return f"the native kernels do not know {cell.title}"
    weight, values = cell.get_parameter("weight_hh"), input.values
    if values.device.type != "cpu" or weight.device.type != "cpu":
        return f"the native kernels run on the CPU, the batch is on {values.device} and the weights on {weight.device}"
    if weight.dtype != torch.float32 or not computes(values):
        return f"the native kernels compute in float32, the batch is {values.dtype} and the weights are {weight.dtype}"
    return None


def run(cell: Cell, input: Sequences, state: Any, *, reverse: bool = False) -> tuple[Sequences, Any]:
    """Outputs (B, T, H), zero on padding, and each row's state after its last valid step."""
    assert isinstance(cell, GatedCell)
    weights = (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh, extra_weights(cell))
    begin = torch.stack(list(state)).float()
    number, numbers, values = CELLS[type(cell)].number, casting(cell, len(input.lengths)), input.values.float()
    output, final = layer(number, values, input.lengths, weights, begin, reverse=reverse, numbers=numbers)
    return input.with_values(output), type(state)(*final.unbind())


def layer(
    number: int,
    input: Tensor,
    lengths: Tensor,
    weights: Sequence[Tensor],
    state: Tensor,
    *,
    reverse: bool = False,
    numbers: Numbers = Numbers.FLOAT32,
) -> tuple[Tensor, Tensor]:
    """One layer in one direction.

    Args:
        number: of the cell, see `Native`.
        input: (B, T, I) float32 of any layout.
        lengths: (B,) int64 in 0..T.
        weights: W_ih (G*H, I), W_hh (G*H, H), b_ih and b_hh (G*H,), and the cell's further ones, (n * H,).
        state: (1 + memories, B, H), h first.
        reverse: read each row from its true end.
        numbers: what products multiply, forward and back.

    Returns:
        Outputs (B, T, H), zero on padding, and the final state, shaped like the one before.
    """
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in (input, state, *weights))
    output, final, _ = torch.ops.seqloom.recurrence(input, lengths, *weights, state, number, numbers, reverse, keep)
    return output, final


def extra_weights(cell: GatedCell) -> Tensor:
    """The cell's weights beyond torch's, one after another, (n * H,)."""
    extras = [cell.get_parameter(name).reshape(-1) for name in CELLS[type(cell)].extras]
    return torch.cat(extras) if extras else cell.weight_hh.new_zeros(0)


def computes(values: Tensor) -> bool:
    """Whether values are float32, or what automatic casting made of them."""
    return values.dtype == torch.float32 or (values.dtype == torch.bfloat16 and casts_to_bfloat16())


def casting(cell: Cell, rows: int) -> Numbers:
    """What a cell's products multiply: bfloat16 within automatic casting to it where that is the faster one.

    Tiles pay for many rows and lose time on one, so only training goes through them, with `ROWS_FOR_TILES` or more: in
    evaluation nothing depends on the number of rows, and whole sequences and single steps agree to the bit.
    """
    if cell.training and rows >= ROWS_FOR_TILES and tiles():
        return Numbers.BFLOAT16_TILES if casts_to_bfloat16() else Numbers.FLOAT32_TILES
    return Numbers.BFLOAT16 if casts_to_bfloat16() and bfloat16_pays() else Numbers.FLOAT32


def tiles() -> bool:
    """Whether this processor has tiles (AMX), and the chosen instruction set uses them."""
    return bool(module().tiles())


def bfloat16_pays() -> bool:
    """Whether products of bfloat16 take less time than those of float32 on this processor."""
    return bool(module().bfloat16_pays())


def module() -> ModuleType:
    """The compiled module, where `why_not` has found it."""
    found = library()
    if isinstance(found, str):
        raise KernelError(found)
    return found


def empty(*shape: int) -> Tensor:
    """Room in the kernels' own memory, which they keep for the next call when the last tensor on it is gone."""
    tensor: Tensor = module().empty(math.prod(shape))
    return tensor.view(shape)


def forget() -> None:
    """Give the memory that is kept back to the system."""
    if not isinstance(library(), str):
        module().forget()


def dense(tensor: Tensor) -> Tensor:
    """The tensor itself if its last dimension is dense, else a copy."""
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] <= 1 else tensor.contiguous()


def _layer(x: Tensor, lengths: Tensor, weights: list[Tensor], state: Tensor, outputs: list[Tensor]) -> Any:
    """Sizes and addresses in the order of csrc/binding.cpp."""
    output = outputs[0]
    sizes = [*x.shape, state.shape[-1], x.stride(0), x.stride(1), output.stride(0), output.stride(1)]
    return sizes, [tensor.data_ptr() for tensor in (lengths, x, *weights, state, *outputs)]


_SCHEMA = (
    "(Tensor x, Tensor lengths, Tensor w_ih, Tensor w_hh, Tensor b_ih, Tensor b_hh, Tensor extra, Tensor state, "
    "int cell, int numbers, bool reverse, bool keep) -> (Tensor, Tensor, Tensor)"
)
_BACKWARD = (
    "(Tensor d_output, Tensor d_final, Tensor x, Tensor lengths, Tensor w_ih, Tensor w_hh, Tensor b_ih, Tensor b_hh, "
    "Tensor extra, Tensor state, Tensor output, Tensor reserve, int cell, int numbers, bool reverse, bool need_x) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
)
torch.library.define("seqloom::recurrence", _SCHEMA)
torch.library.define("seqloom::recurrence_backward", _BACKWARD)


# Arguments come in the order of the schema; the weights w_ih, w_hh, b_ih, b_hh and extra stay together.


@torch.library.impl("seqloom::recurrence", "CPU")
def _recurrence(x: Tensor, lengths: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    *weights, state, cell, numbers, reverse, keep = rest
    native = module()
    _check(x, lengths, weights, state, numbers)
    x, lengths, state = dense(x), lengths.contiguous(), state.contiguous()
    weights = [weight.contiguous() for weight in weights]
    output, final = empty(*x.shape[:2], state.shape[-1]), state.new_empty(state.shape)
    reserve = empty(_reserved(x, state, cell) if keep else 0)
    sizes, addresses = _layer(x, lengths, weights, state, [output, final, reserve])
    if not keep:
        addresses[-1] = 0
    native.forward(cell, numbers, torch.get_num_threads(), reverse, sizes, addresses)
    return output, final, reserve


@torch.library.register_fake("seqloom::recurrence")  # type: ignore[untyped-decorator]
def _(x: Tensor, lengths: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    *_weights, state, cell, _numbers, _reverse, keep = rest
    output, final = x.new_empty(*x.shape[:2], state.shape[-1]), state.new_empty(state.shape)
    return output, final, x.new_empty(_reserved(x, state, cell) if keep else 0)


def _reserved(x: Tensor, state: Tensor, cell: int) -> int:
    """Numbers that the way back needs."""
    reserved: int = x.shape[0] * x.shape[1] * module().reserve(cell, state.shape[-1])
    return reserved


def _check(x: Tensor, lengths: Tensor, weights: list[Tensor], state: Tensor, numbers: int) -> None:
    """Addresses go to the native code as they are, so whatever does not fit must stop here."""
    (B, T, features), (_, rows, H), gates = x.shape, state.shape, len(weights[0])
    shapes = [tuple(weight.shape) for weight in weights[:4]]
    expected = [(gates, features), (gates, H), (gates,), (gates,)]
    if shapes != expected or rows != B or (H and gates % H):
        raise ValueError(
            f"weights of shapes {shapes} and a state of {tuple(state.shape)} do not fit x {tuple(x.shape)}"
        )
    check_lengths(lengths, B, T)
    if any(tensor.dtype != torch.float32 for tensor in (x, state, *weights)):
        raise TypeError("x, state and weights must be float32")
    known = [number for number in Numbers if number != Numbers.INT8 and (number < Numbers.FLOAT32_TILES or tiles())]
    if numbers not in known:
        raise ValueError(f"layers multiply one of {known} here, got {numbers}")


def check_lengths(lengths: Tensor, B: int, T: int) -> None:
    """Steps that the native code reads must exist.

    Raises:
        TypeError, ValueError: they are no B whole numbers in 0..T.
    """
    if lengths.dtype != torch.int64:
        raise TypeError(f"lengths are {lengths.dtype}; expected int64")
    if lengths.shape != (B,) or (B and not (int(lengths.min()) >= 0 and int(lengths.max()) <= T)):
        raise ValueError(f"lengths are {lengths.tolist()}; expected {B} numbers, each in 0..{T}")


@torch.library.impl("seqloom::recurrence_backward", "CPU")
def _recurrence_backward(
    d_output: Tensor, d_final: Tensor, x: Tensor, lengths: Tensor, *rest: Any
) -> tuple[Tensor, ...]:
    *weights, state, output, reserve, cell, numbers, reverse, need_x = rest
    d_output, d_final, x, output = dense(d_output), d_final.contiguous(), dense(x), dense(output)
    lengths, state = lengths.contiguous(), state.contiguous()
    weights = [weight.contiguous() for weight in weights]
    d_x = empty(*(x.shape if need_x else (0,)))
    found = (d_x, *_empty_gradients(weights, state))
    sizes, addresses = _layer(x, lengths, weights, state, [output, d_final, reserve])
    gradients = [d_output.data_ptr(), d_final.data_ptr(), *(gradient.data_ptr() for gradient in found)]
    if not need_x:
        gradients[2] = 0
    how = (cell, numbers, torch.get_num_threads(), reverse)
    module().backward(*how, sizes, addresses, gradients, d_output.stride(0), d_output.stride(1))
    return found


@torch.library.register_fake("seqloom::recurrence_backward")  # type: ignore[untyped-decorator]
def _(d_output: Tensor, d_final: Tensor, x: Tensor, lengths: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    *weights, state, _output, _reserve, _cell, _numbers, _reverse, need_x = rest
    return (x.new_empty(x.shape if need_x else (0,)), *_empty_gradients(weights, state))


def _empty_gradients(weights: list[Tensor], state: Tensor) -> tuple[Tensor, ...]:
    return (*(weight.new_empty(weight.shape) for weight in weights), state.new_empty(state.shape))


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *tensors, cell, numbers, reverse, keep = inputs
    ctx.how = (cell, numbers, reverse)
    ctx.set_materialize_grads(False)  # zeros for the reserve, which has no gradient, would be as large as it is
    if keep:
        ctx.save_for_backward(*tensors, output[0], output[2])


def _gradients(ctx: Any, d_output: Tensor | None, d_final: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    *tensors, output, reserve = ctx.saved_tensors
    state, need_x = tensors[-1], ctx.needs_input_grad[0]
    d_output = torch.zeros_like(output) if d_output is None else d_output
    d_final = torch.zeros_like(state) if d_final is None else d_final
    d_x, *others = torch.ops.seqloom.recurrence_backward(
        d_output, d_final, *tensors, output, reserve, *ctx.how, need_x
    )
    *d_weights, d_state = others
    return (d_x if need_x else None, None, *d_weights, d_state, None, None, None, None)


def _no_second(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
    raise KernelError("the native kernels have no second derivative; use backend: reference for it")


torch.library.register_autograd("seqloom::recurrence", _gradients, setup_context=_remember)
torch.library.register_autograd("seqloom::recurrence_backward", _no_second)
