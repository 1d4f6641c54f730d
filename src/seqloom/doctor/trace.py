"""One batch through a model, with every state on the way kept: what all measurements of the core look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from seqloom.batch import Batch
from seqloom.cells.cell import Cell
from seqloom.model import SequenceModel
from seqloom.outputs.output import Shape


@dataclass
class Track:
    """One cell's way through a batch, in the order in which it reads: the backward direction from the true end.

    Attributes:
        name: `layer 1`, or `layer 1 backward`.
        cell: the cell.
        lengths: (B,) steps of each row.
        inputs: (B, T, I), in pieces if the core reads in pieces.
        states: what each step started from, T named tuples of (B, ...).
        outputs: (B, H) of each step.
        final: state after the last step of the batch.
    """

    name: str
    cell: Cell
    lengths: Tensor
    inputs: list[Tensor] = field(default_factory=list)
    states: list[Any] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    final: Any = None

    @property
    def backward(self) -> bool:
        """Whether it reads from the end."""
        return self.name.endswith("backward")

    @property
    def valid(self) -> Tensor:
        """(T, B) bool, whether a row has the step."""
        return torch.arange(len(self.states)).unsqueeze(1) < self.lengths


@dataclass(frozen=True)
class Trace:
    """A batch, the raw answers to it, and the way of every cell."""

    batch: Batch
    raw: dict[str, Tensor]
    tracks: list[Track]


def trace(model: SequenceModel, batch: Batch) -> Trace:
    """Run the reference scan in evaluation mode with the graph kept; the model stays as it was."""
    was_training, backend = model.training, model.core.backend
    model.eval()
    model.core.backend = "reference"
    try:
        with torch.enable_grad(), _recording(model) as tracks:
            raw = model(batch)
    finally:
        model.train(was_training)
        model.core.backend = backend
    return Trace(batch, raw, tracks)


@contextmanager
def _recording(model: SequenceModel) -> Iterator[list[Track]]:
    """While it is open, every step of the core's cells, inside what is put around them, is noted."""
    tracks = [
        Track(f"layer {depth}{' backward' * direction}", cell.bare, torch.zeros(0, dtype=torch.int64))
        for depth, layer in enumerate(model.core.cells(), start=1)
        for direction, cell in enumerate(layer)
    ]

    def note_lengths(module: torch.nn.Module, given: tuple[Any, ...]) -> None:
        for track in tracks:
            track.lengths = given[0].lengths

    hook = model.core.register_forward_pre_hook(note_lengths)
    for track in tracks:
        _watch(track)
    try:
        yield tracks
    finally:
        hook.remove()
        for track in tracks:
            for name in ("project", "step"):  # the class's own methods show again
                delattr(track.cell, name)


def _watch(track: Track) -> None:
    """Put methods that take notes in front of the cell's own."""
    project, step = track.cell.project, track.cell.step

    def noted_project(input: Tensor) -> Tensor:
        track.inputs.append(input)
        return project(input)

    def noted_step(projected: Tensor, state: Any) -> tuple[Tensor, Any]:
        state = type(state)(*(_leaf(part) for part in state))
        output, track.final = step(projected, state)
        track.states.append(state)
        track.outputs.append(output)
        return output, track.final

    object.__setattr__(track.cell, "project", noted_project)
    object.__setattr__(track.cell, "step", noted_step)


def _leaf(part: Tensor) -> Tensor:
    """A tensor of its own with a gradient: cells may use one tensor of zeros for several parts of a state."""
    own = part.clone()
    return own if own.requires_grad or not own.is_floating_point() else own.requires_grad_()


def with_one_target(model: SequenceModel, batch: Batch, backward: bool) -> Batch:
    """The batch with one answer for each row: of answers at every step, the last that is known.

    For a core that reads from the end it is the first. Its loss has one place in time, so a lag can be told.
    """
    targets = dict(batch.targets)
    for name, output in model.outputs.items():
        if output.shape is Shape.STEPS and name in targets:
            targets[name] = _only_one(targets[name], output.missing, first=backward)
    return batch._replace(targets=targets)


def _only_one(target: Tensor, missing: float, first: bool) -> Tensor:
    """(B, T, ...): `missing` everywhere but at each row's first or last known step."""
    known = known_steps(target, missing)
    order = known.cumsum(dim=1) if first else known.flip(1).cumsum(dim=1).flip(1)
    chosen = known & (order == 1)
    return torch.where(chosen.reshape(*chosen.shape, *[1] * (target.dim() - 2)), target, target.new_full((), missing))


def known_steps(target: Tensor, missing: float) -> Tensor:
    """(B, T) bool, where a target (B, T, ...) is there."""
    absent = target.isnan() if missing != missing else target == missing
    return ~absent.flatten(2).all(dim=2)


def anchors(model: SequenceModel, batch: Batch, backward: bool) -> Tensor:
    """(B,) for each row, in its cell's reading order, the number of the core's steps up to the one loss.

    The last of these steps has lag 1.
    """
    places = _anchors(model, batch, backward)
    return places.div(model.front.factor).ceil().long()


def _anchors(model: SequenceModel, batch: Batch, backward: bool) -> Tensor:
    """The same in steps of the inputs."""
    for name, output in model.outputs.items():
        if output.shape is Shape.STEPS and name in batch.targets:
            known = known_steps(batch.targets[name], output.missing)
            steps = torch.arange(known.shape[1]).expand_as(known)
            if backward:
                return (batch.lengths - torch.where(known, steps, known.shape[1]).amin(dim=1)).clamp(min=0)
            return torch.where(known, steps + 1, 0).amax(dim=1)
    if not backward:
        return batch.origins
    # What forecasts the future read from its end; an answer for the whole sequence comes after its first step.
    return batch.lengths - batch.origins if model.horizon else batch.lengths
