"""The stages a batch runs through, with the shapes they really have."""

from __future__ import annotations

import torch
from torch import nn

from seqloom.batch import Batch
from seqloom.explain.stack import stack_stages
from seqloom.explain.stage import Stage, count, watched
from seqloom.explain.writing import writing_stages
from seqloom.inputs.input import Role
from seqloom.layers.pooling import Pooling
from seqloom.model import SequenceModel
from seqloom.outputs.output import Output, Shape
from seqloom.outputs.text import Text
from seqloom.sequences import Sequences


@torch.no_grad()
def run_stages(model: SequenceModel, batch: Batch) -> list[Stage]:
    """Every stage of a built model in evaluation mode, measured while it runs over a batch."""
    joined = model.join(batch)
    width = joined.values.shape[2]
    reader = "front end" if model.front.convs() else "core"
    note = f"all inputs side by side at every step: {width} features go into the {reader}"
    join = Stage("join", tuple(joined.values.shape), 0, note, joined.values.numel())
    front, shorter = _front(model, joined)
    layers, _ = stack_stages(model.core, shorter, name="core", after=_after_core(model))
    return [*_inputs(model, batch), join, *front, *layers, *_outputs(model, batch)]


def _inputs(model: SequenceModel, batch: Batch) -> list[Stage]:
    """Each input before and after its encoder."""
    stages = []
    for name, input in model.inputs.items():
        read = batch.inputs[name]
        made, kept = watched(input, lambda i=input, n=name: i(batch.inputs[n], batch.scales.get(n)))  # type: ignore[misc]
        when = "static: stands at every step" if input.role is Role.STATIC else f"along time, {input.role.value}"
        stages.append(Stage(f"input {name}", tuple(read.shape), 0, when))
        stages.append(Stage(f"input {name}, encoded", tuple(made.shape), count(input), "", kept))
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
        stages.append(Stage(f"front layer {depth + 1}: Conv", tuple(input.values.shape), count(conv), note, kept))
    return stages, input


def _after_core(model: SequenceModel) -> str:
    return "; ".join(_reads(name, output) for name, output in model.outputs.items())


def _reads(name: str, output: Output) -> str:
    """What an output does with the sequence that the core returns."""
    pools = [type(part).__name__.lower() for part in output.modules() if _pools(part)]
    if pools:
        return f"{name}'s pooling ({', '.join(pools)}) keeps one vector"
    if output.shape is Shape.VECTOR:
        return f"{name} makes one vector of it"
    if isinstance(output, Text):
        return f"{name}'s attention looks at every step, its bridge takes the final state"
    return f"{name} reads " + ("the steps after the origin" if output.shape is Shape.AHEAD else "every step")


def _pools(part: nn.Module) -> bool:
    """Whether it is a pooling, and not several of them side by side."""
    return isinstance(part, Pooling) and not any(isinstance(child, Pooling) for child in list(part.modules())[1:])


def _outputs(model: SequenceModel, batch: Batch) -> list[Stage]:
    """The raw answers."""
    reading, _ = model.read(batch)
    stages = []
    for name, output in model.outputs.items():
        if isinstance(output, Text):
            stages += writing_stages(output, reading)
            continue
        raw, kept = watched(output, lambda o=output: o(reading))  # type: ignore[misc]
        stages.append(Stage(f"output {name}", tuple(raw.shape), count(output), output.shape.value, kept))
    return stages
