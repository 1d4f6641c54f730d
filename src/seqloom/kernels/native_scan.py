"""Our own scan on the CPU, for cells each of whose units sees its own past alone.

Cells that are linear in their state (`m' = a * m + b`) and the IndRNN (`h' = relu(u * h + b)`). What does not depend on
the past is computed by torch for all steps at once; the steps themselves are one pass through memory in
`csrc/scan.hpp`, forward and back, over valid steps only. Given a and b, results do not depend, to the bit, on
neighbours, padding, chunks or threads; torch's products that make a and b may differ in their last bits from one shape
of batch to another.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqloom.cells.cell import Cell, LinearCell
from seqloom.cells.ind_rnn import IndRNN
from seqloom.errors import KernelError
from seqloom.kernels import native
from seqloom.kernels.backwards import backwards
from seqloom.sequences import Sequences


def why_not(cell: Cell, input: Sequences) -> str | None:
    """The reason why this cell and batch cannot be scanned by native code, or None."""
    found = native.library()
    if isinstance(found, str):
        return found
    if not (isinstance(cell, LinearCell) or type(cell) is IndRNN):
        return f"units of {cell.title} see more than their own past"
    values, weights = input.values, list(cell.parameters())
    devices, dtypes = ({str(getattr(weight, name)) for weight in weights} for name in ("device", "dtype"))
    if values.device.type != "cpu" or any(weight.device.type != "cpu" for weight in weights):
        return f"the native scan runs on the CPU, the batch is on {values.device} and the weights on {_all(devices)}"
    if dtypes - {"torch.float32"} or not native.computes(values):
        return f"the native scan computes in float32, the batch is {values.dtype} and the weights are {_all(dtypes)}"
    return None


def _all(words: set[str]) -> str:
    return " and ".join(sorted(words))


def run(cell: Cell, input: Sequences, state: Any, *, reverse: bool = False) -> tuple[Sequences, Any]:
    """Outputs (B, T, H), zero on padding, and each row's state after its last valid step."""
    if reverse:
        return backwards(run, cell, input, state)
    projected = cell.project(input.zero_padding().values)
    if isinstance(cell, LinearCell):
        memory, final = elementwise(*cell.coefficients(projected), state[0], input.lengths)
        return input.with_values(cell.readout(projected, memory)).zero_padding(), type(state)(final)
    assert isinstance(cell, IndRNN)
    u = cell.weight_hh.expand(projected.shape)
    output, final = elementwise(u, projected, state.h, input.lengths, rectified=True)
    return input.with_values(output), type(state)(final)


def elementwise(
    a: Tensor, b: Tensor, initial: Tensor, lengths: Tensor, *, rectified: bool = False
) -> tuple[Tensor, Tensor]:
    """`m[t] = a[t] * m[t-1] + b[t]` with `m[-1] = initial` over the valid steps of each row, in float32.

    Args:
        a, b: (B, T, H).
        initial: (B, H).
        lengths: (B,) int64 in 0..T.
        rectified: cut off the negative part of every m[t].

    Returns:
        m (B, T, H), zero on padding, and each row's last, (B, H).
    """
    found: tuple[Tensor, Tensor] = torch.ops.seqloom.scan(a.float(), b.float(), initial.float(), lengths, rectified)
    return found


torch.library.define(
    "seqloom::scan", "(Tensor a, Tensor b, Tensor initial, Tensor lengths, bool rectified) -> (Tensor, Tensor)"
)
torch.library.define(
    "seqloom::scan_backward",
    "(Tensor d_output, Tensor d_final, Tensor a, Tensor initial, Tensor lengths, Tensor output, bool rectified) "
    "-> (Tensor, Tensor, Tensor)",
)


@torch.library.impl("seqloom::scan", "CPU")
def _scan(a: Tensor, b: Tensor, initial: Tensor, lengths: Tensor, rectified: bool) -> tuple[Tensor, Tensor]:
    _check(a, b, initial, lengths)
    output, final = native.empty(*b.shape), initial.new_empty(initial.shape)
    a, b, initial, lengths = native.dense(a), b.contiguous(), initial.contiguous(), lengths.contiguous()
    tensors = (lengths, a, b, initial, output, final)
    _call(rectified, a, b, tensors, ())
    return output, final


def _check(a: Tensor, b: Tensor, initial: Tensor, lengths: Tensor) -> None:
    """Addresses go to the native code as they are, so whatever does not fit must stop here."""
    if b.dim() != 3 or a.shape != b.shape or initial.shape != (b.shape[0], b.shape[2]):
        found = f"a {tuple(a.shape)}, b {tuple(b.shape)} and a state of {tuple(initial.shape)}"
        raise ValueError(f"got {found}; expected (B, T, H), (B, T, H) and (B, H)")
    if {a.dtype, b.dtype, initial.dtype} != {torch.float32}:
        raise TypeError(f"got a {a.dtype}, b {b.dtype} and a state {initial.dtype}; expected float32")
    native.check_lengths(lengths, b.shape[0], b.shape[1])


@torch.library.register_fake("seqloom::scan")  # type: ignore[untyped-decorator]
def _(a: Tensor, b: Tensor, initial: Tensor, lengths: Tensor, rectified: bool) -> tuple[Tensor, Tensor]:
    return b.new_empty(b.shape), initial.new_empty(initial.shape)


@torch.library.impl("seqloom::scan_backward", "CPU")
def _scan_backward(
    d_output: Tensor,
    d_final: Tensor,
    a: Tensor,
    initial: Tensor,
    lengths: Tensor,
    output: Tensor,
    rectified: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    d_output, d_final, output = d_output.contiguous(), d_final.contiguous(), output.contiguous()
    a, initial, lengths = native.dense(a), initial.contiguous(), lengths.contiguous()
    found = native.empty(*output.shape), native.empty(*output.shape), initial.new_empty(initial.shape)
    # b and the final state are not read on the way back.
    _call(rectified, a, output, (lengths, a, output, initial, output, d_final), (d_output, d_final, *found))
    return found


@torch.library.register_fake("seqloom::scan_backward")  # type: ignore[untyped-decorator]
def _(d_output: Tensor, d_final: Tensor, a: Tensor, initial: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    _lengths, output, _rectified = rest
    return output.new_empty(output.shape), output.new_empty(output.shape), initial.new_empty(initial.shape)


def _call(rectified: bool, a: Tensor, b: Tensor, tensors: tuple[Tensor, ...], gradients: tuple[Tensor, ...]) -> None:
    """Sizes and addresses in the order of csrc/binding.cpp."""
    sizes = [*b.shape, a.stride(0), a.stride(1)]
    addresses, ways_back = ([tensor.data_ptr() for tensor in some] for some in (tensors, gradients))
    native.module().scan(torch.get_num_threads(), rectified, sizes, addresses, ways_back)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    a, _, initial, lengths, ctx.rectified = inputs
    ctx.save_for_backward(a, initial, lengths, output[0])


def _gradients(ctx: Any, d_output: Tensor, d_final: Tensor) -> tuple[Tensor | None, ...]:
    found = torch.ops.seqloom.scan_backward(d_output, d_final, *ctx.saved_tensors, ctx.rectified)
    return (*found, None, None)


def _no_second(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
    raise KernelError("the native scan has no second derivative; use backend: scan or reference for it")


torch.library.register_autograd("seqloom::scan", _gradients, setup_context=_remember)
torch.library.register_autograd("seqloom::scan_backward", _no_second)
