"""The stages a batch runs through, with the shapes they really have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqloom.batch import Batch
from seqloom.cells.cell import Cell
from seqloom.inputs.input import Role
from seqloom.kernels import Choice, choose
from seqloom.layers.pooling import Pooling
from seqloom.model import SequenceModel
from seqloom.outputs.output import Output, Shape
from seqloom.sequences import Sequences
from seqloom.state import size


class Stage(NamedTuple):
    """One part of a model.

    Attributes:
        name: what it is.
        shape: of what it gives: (batch, time, features), or without time.
        parameters: weights that training changes.
        note: what becomes of it.
        kept: numbers that it keeps for the backward pass over this batch, an estimate.
        kernel: who runs it, for a layer of the core.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    note: str
    kept: int = 0
    kernel: Choice | None = None


@torch.no_grad()
def run_stages(model: SequenceModel, batch: Batch) -> list[Stage]:
    """Every stage of a built model in evaluation mode, measured while it runs over a batch."""
    joined = model.join(batch)
    width = joined.values.shape[2]
    reader = "front end" if model.front.convs() else "core"
    note = f"all inputs side by side at every step: {width} features go into the {reader}"
    join = Stage("join", tuple(joined.values.shape), 0, note, joined.values.numel())
    front, shorter = _front(model, joined)
    return [*_inputs(model, batch), join, *front, *_layers(model, shorter), *_outputs(model, batch)]


def _inputs(model: SequenceModel, batch: Batch) -> list[Stage]:
    """Each input before and after its encoder."""
    stages = []
    for name, input in model.inputs.items():
        read = batch.inputs[name]
        made, kept = _watched(input, lambda i=input, n=name: i(batch.inputs[n], batch.scales.get(n)))  # type: ignore[misc]
        when = "static: stands at every step" if input.role is Role.STATIC else f"along time, {input.role.value}"
        stages.append(Stage(f"input {name}", tuple(read.shape), 0, when))
        stages.append(Stage(f"input {name}, encoded", tuple(made.shape), _count(input), "", kept))
    return stages


def _front(model: SequenceModel, joined: Sequences) -> tuple[list[Stage], Sequences]:
    """Each convolution before the core, and what the core reads."""
    input, stages, front = joined, [], model.front
    for depth, (conv, factor, field) in enumerate(
        zip(front.convs(), front.factors()[1:], front.receptive_fields(), strict=True)
    ):
        read, (input, _) = input, conv(input)
        note = f"each step stands for {factor} and reads {field}" if factor > 1 else f"each step reads {field}"
        kept = input.values.numel() * 2 + read.values.numel()  # before and behind the ReLU, and the padded input
        stages.append(Stage(f"front layer {depth + 1}: Conv", tuple(input.values.shape), _count(conv), note, kept))
    return stages, input


def _layers(model: SequenceModel, read: Sequences) -> list[Stage]:
    """Each layer of the core; a backward cell reads reversed steps, which changes no shape."""
    core, input, stages = model.core, read, []
    cells, state = core.cells(), core.initial_state(len(read.lengths))
    for depth, (layer, layer_state) in enumerate(zip(cells, state, strict=True)):
        lowered = [_lowered(cell, part) for cell, part in zip(layer, layer_state, strict=True)]
        choice = choose(lowered[0][0], input, core.backend)
        runs = [choice.kernel.run(cell, input, part)[0].values for cell, part in lowered]
        made = input.with_values(torch.cat(runs, dim=-1))
        last = depth + 1 == len(cells)
        note = "returns sequences: yes, " + (_after_core(model) if last else "the next layer reads every step")
        kept = sum(_kept_by(cell, input, part) for cell, part in zip(layer, layer_state, strict=True))
        name = f"core layer {depth + 1}: {layer[0].title}" + (" in both directions" if layer[1:] else "")
        stages.append(Stage(name, tuple(made.values.shape), sum(map(_count, layer)), note, kept, choice))
        input = core.above(made, input)
    return stages


def _lowered(cell: Cell, state: Any) -> tuple[Cell, Any]:
    """What kernels run while training, where it is more than in evaluation."""
    lowered = cell.train().lower(state)
    cell.eval()
    return lowered


def _after_core(model: SequenceModel) -> str:
    return "; ".join(_reads(name, output) for name, output in model.outputs.items())


def _reads(name: str, output: Output) -> str:
    """What an output does with the sequence that the core returns."""
    pools = [type(part).__name__.lower() for part in output.modules() if _pools(part)]
    if pools:
        return f"{name}'s pooling ({', '.join(pools)}) keeps one vector"
    if output.shape is Shape.VECTOR:
        return f"{name} makes one vector of it"
    return f"{name} reads " + ("the steps after the origin" if output.shape is Shape.AHEAD else "every step")


def _pools(part: nn.Module) -> bool:
    """Whether it is a pooling, and not several of them side by side."""
    return isinstance(part, Pooling) and not any(isinstance(child, Pooling) for child in list(part.modules())[1:])


def _outputs(model: SequenceModel, batch: Batch) -> list[Stage]:
    """The raw answers."""
    reading, _ = model.read(batch)
    stages = []
    for name, output in model.outputs.items():
        raw, kept = _watched(output, lambda o=output: o(reading))  # type: ignore[misc]
        stages.append(Stage(f"output {name}", tuple(raw.shape), _count(output), output.shape.value, kept))
    return stages


def _watched(module: nn.Module, call: Callable[[], Tensor]) -> tuple[Tensor, int]:
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


def _kept_by(cell: Cell, input: Sequences, state: Any) -> int:
    """Gates and states of every step."""
    gates = cell.project(input.values[:, :1]).numel()
    return input.values.shape[1] * (gates + size(state))


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters() if weight.requires_grad)
