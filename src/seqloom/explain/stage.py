"""`Stage`: one part of a model that a batch runs through, and how it is measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqloom.kernels import Choice


class Stage(NamedTuple):
    """One part of a model.

    Attributes:
        name: what it is.
        shape: of what it gives: (batch, time, features), or without time.
        parameters: weights that training changes.
        note: what becomes of it.
        kept: numbers that it keeps for the backward pass over this batch, an estimate.
        kernel: who runs it, for a layer of cells.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    note: str
    kept: int = 0
    kernel: Choice | None = None


def count(module: nn.Module) -> int:
    """Weights that training changes."""
    return sum(weight.numel() for weight in module.parameters() if weight.requires_grad)


def watched(module: nn.Module, call: Callable[[], Tensor]) -> tuple[Tensor, int]:
    """What a call gives, and how many numbers the parts of a module gave on the way."""
    numbers = []
    hooks = [
        part.register_forward_hook(lambda _part, _given, made: numbers.append(made.numel()))
        for part in module.modules()
        if not list(part.children())
    ]
    made = call()
    for hook in hooks:
        hook.remove()
    return made, max(sum(numbers), made.numel())


def saved(module: nn.Module, call: Callable[[], Tensor]) -> tuple[Tensor, int]:
    """What a call gives, and how many numbers its graph keeps for the backward pass, weights aside."""
    known = {weight.data_ptr() for weight in module.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in known:
            kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        made = call()
    return made.detach(), sum(kept.values())
