"""From encoded columns to a batch: every rule about what a window may see is here, and only here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqloom.data.segments import Segments
from seqloom.inputs.input import Input, Role
from seqloom.outputs.output import Output, Places, Shape, Steps
from seqloom.scaling import Scale
from seqloom.sequences import Ragged


class Encoded(NamedTuple):
    """A table after encoding, before any window is cut.

    Attributes:
        offsets: (S + 1,) int64, first step of each segment.
        inputs: by name, (N, F) along time or (S, F) static; with a time axis of its own, the rows of S sequences.
        targets: by name, (N, ...) or (S, ...), or S sequences of their own lengths; empty where the
            truth is not in the table.
    """

    offsets: Tensor
    inputs: Mapping[str, Tensor | Ragged]
    targets: Mapping[str, Tensor | Ragged]


class Batch(NamedTuple):
    """What a model reads at once: B rows of at most T steps, past and then future.

    Attributes:
        inputs: by name, (B, T, F) along time or (B, F) static; `missing` where nothing may be seen.
        targets: by name: (B, ...) one per row, (B, T, ...) one per step, or (B, U, ...) after the origin or of
            a length of their own.
        scales: of the inputs that have one, by name.
        lengths: (B,) int64, past and future steps.
        origins: (B,) int64, past steps.
    """

    inputs: dict[str, Tensor]
    targets: dict[str, Tensor]
    scales: dict[str, Scale]
    lengths: Tensor
    origins: Tensor


class Grid(NamedTuple):
    """Which steps the cells of a batch stand for, each (B, T).

    Attributes:
        step: step within the segment.
        first: (B, 1) where the segment begins in the table.
        within: the row has this step.
        past: and it lies before the origin.
    """

    step: Tensor
    first: Tensor
    within: Tensor
    past: Tensor


def grid(offsets: Tensor, places: Places) -> Grid:
    """The grid of some places."""
    segment, start, origin, stop = (torch.from_numpy(np.asarray(part)).unsqueeze(1) for part in places)
    longest = int((stop - start).max()) if len(stop) else 0
    step = start + torch.arange(longest)
    within = step < stop
    return Grid(step, offsets[segment], within, within & (step < origin))


def cut(
    encoded: Encoded,
    places: Places,
    inputs: Mapping[str, Input],
    outputs: Mapping[str, Output],
    scales: Mapping[str, Scale] | None = None,
) -> Batch:
    """The batch at some places.

    Args:
        encoded: the table.
        places: rows of the batch.
        inputs: of the model, by name.
        outputs: of the model, by name.
        scales: scales to use; computed from each row's own past where omitted.
    """
    cells = grid(encoded.offsets, places)
    segment = torch.from_numpy(places.segment)
    found, found_scales = {}, dict(scales or {})
    lengths, origins = (torch.from_numpy(part - places.start) for part in (places.stop, places.origin))
    for name, input in inputs.items():
        column = encoded.inputs[name]
        if isinstance(column, Ragged):
            rows = column.rows(segment, input.missing)
            found[name], lengths, origins = rows.values, rows.lengths, rows.lengths
            continue
        if input.role is Role.STATIC:
            found[name] = column[segment]
            continue
        visible = cells.past if input.role is Role.PAST else cells.within
        values = _gather(column, cells, cells.step, visible, input.missing)
        if name not in found_scales:
            past = torch.where(cells.past.unsqueeze(-1), values, values.new_full((), input.missing))
            scale = input.scale(past)
            if scale is not None:
                found_scales[name] = scale
        found[name] = torch.cat([values, *_lagged(column, cells, places, input)], dim=-1)
    targets = {
        name: _target(encoded.targets[name], cells, places, output)
        for name, output in outputs.items()
        if name in encoded.targets
    }
    return Batch(found, targets, found_scales, lengths, origins)


def steps_of(encoded: Encoded, places: Places) -> Steps:
    """(B,) steps that a model reads at each place, and those of targets that have lengths of their own.

    Read are the steps of the table, or of the input with its own time axis.
    """
    written = [column for column in encoded.targets.values() if isinstance(column, Ragged)]
    read = [column for column in encoded.inputs.values() if isinstance(column, Ragged)]
    steps = places.stop - places.start if not read else 0 * places.start
    for column in [*read[:1], *written]:
        steps = steps + column.lengths.numpy()[places.segment]
    return steps


def own_scales(encoded: Encoded, places: Places, inputs: Mapping[str, Input]) -> dict[str, Scale]:
    """The scale of each place's whole past (B, F), by input: for rows that are read piece by piece.

    Rows are looked at one by one, so that a short one costs nothing beside a long one.
    """
    found: dict[str, list[Scale]] = {}
    moving = {name: input for name, input in inputs.items() if input.role is not Role.STATIC}
    for row in range(len(places.segment)):
        scales = cut(encoded, places.take(slice(row, row + 1)), moving, {}).scales
        moving = {name: moving[name] for name in scales}  # the others have no scale, whatever the row
        for name, scale in scales.items():
            found.setdefault(name, []).append(scale)
    return {name: Scale(*map(torch.cat, zip(*rows, strict=True))) for name, rows in found.items()}


def in_chunks(places: Places, steps: int) -> Iterator[Places]:
    """The same rows of past, so many steps at a time; a row that has ended is empty from there on."""
    longest = int((places.origin - places.start).max(initial=0))
    for begin in range(0, max(longest, 1), steps):
        start = np.minimum(places.start + begin, places.origin)
        end = np.minimum(start + steps, places.origin)
        yield Places(places.segment, start, end, end)


def _gather(values: Tensor, cells: Grid, step: Tensor, visible: Tensor, missing: float) -> Tensor:
    """(B, T, F): the values at `step` of each row's segment, `missing` where not visible."""
    if len(values) == 0:
        return values.new_full((*step.shape, *values.shape[1:]), missing)
    index = (cells.first + step).clamp(0, len(values) - 1)
    shape = (*step.shape, *[1] * (values.dim() - 1))
    return torch.where(visible.reshape(shape), values[index], values.new_full((), missing))


def _lagged(values: Tensor, cells: Grid, places: Places, input: Input) -> list[Tensor]:
    """For each lag, the value so many steps ago; in the future, the last visible one of the same phase."""
    origin = torch.from_numpy(places.origin).unsqueeze(1)
    found = []
    for lag in input.lags:
        ahead = (cells.step - origin).clamp(min=0)
        step = cells.step - lag * (1 + ahead // lag)
        found.append(_gather(values, cells, step, cells.within & (step >= 0), input.missing))
    return found


def _target(values: Tensor | Ragged, cells: Grid, places: Places, output: Output) -> Tensor:
    if isinstance(values, Ragged):
        return values.rows(torch.from_numpy(places.segment), output.missing).values
    if output.shape is Shape.VECTOR:
        return values[torch.from_numpy(places.segment)]
    if output.shape is Shape.STEPS:
        return _gather(values, cells, cells.step, cells.past, output.missing)
    future = grid_after(cells, places)
    return _gather(values, future, future.step, future.within, output.missing)


def grid_after(cells: Grid, places: Places) -> Grid:
    """The grid of the steps from each row's origin to its stop."""
    origin, stop = torch.from_numpy(places.origin).unsqueeze(1), torch.from_numpy(places.stop).unsqueeze(1)
    longest = int((stop - origin).max()) if len(stop) else 0
    step = origin + torch.arange(longest)
    within = step < stop
    return Grid(step, cells.first, within, torch.zeros_like(within))


def encode(segments: Segments, inputs: Mapping[str, Input], outputs: Mapping[str, Output]) -> Encoded:
    """All columns of a table, encoded once; targets only where the table has them."""
    available = {*segments.steps, *segments.static}
    return Encoded(
        torch.from_numpy(segments.offsets),
        {name: input.encode(input.read(segments)) for name, input in inputs.items()},
        {
            name: output.encode(output.read(segments))
            for name, output in outputs.items()
            if available.issuperset(output.needed)
        },
    )
