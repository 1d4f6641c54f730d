"""Answers of a built model at many places, in natural units."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from seqloom.batch import Batch, Encoded, cut, encode, in_chunks, own_scales, steps_of
from seqloom.data.segments import Segments
from seqloom.errors import RecipeError
from seqloom.model import SequenceModel
from seqloom.outputs.forecast import Forecast
from seqloom.outputs.output import Array, Output, Places, Reading, Steps
from seqloom.scaling import Scale
from seqloom.sequences import Ragged
from seqloom.state import select

BATCH = 256
CELLS = 8192  # steps of all rows together that are read at once where rows are read in chunks
PATHS = 100  # futures drawn for each row where blocks are fed back


class Answers(NamedTuple):
    """Natural answers of every output, (B, ...), and the scales that they were given in."""

    values: dict[str, Array]
    scales: dict[str, Scale]


class Piece(NamedTuple):
    """Some rows to be answered together: what is still unread of them, and the state of what has been read."""

    rows: Steps
    batch: Batch
    state: Any


class Answered(NamedTuple):
    """Natural answers to some rows, by output, and the scales that they were given in."""

    rows: Steps
    values: dict[str, Array]
    scales: dict[str, Scale]


@torch.no_grad()
def answer(model: SequenceModel, encoded: Encoded, places: Places) -> Answers:
    """Answers at many places; the model is left in evaluation mode."""
    model.eval()
    rows: list[Steps] = []
    found: dict[str, list[Array]] = {name: [] for name in model.outputs}
    scales: dict[str, list[Scale]] = {}
    for part in (_in_chunks if model.whole_only is None else _in_pieces)(model, encoded, places):
        rows.append(part.rows)
        for name, values_of_part in part.values.items():
            found[name].append(values_of_part)
        for name, scale in part.scales.items():
            scales.setdefault(name, []).append(scale)
    back = np.argsort(np.concatenate(rows)) if rows else np.zeros(0, np.int64)
    values = {name: _joined(parts)[back] for name, parts in found.items()}
    return Answers(values, {name: _scales(parts, back) for name, parts in scales.items()})


def answer_frames(model: SequenceModel, segments: Segments, places: Places) -> dict[str, pl.DataFrame]:
    """Answers at many places as tables for people, by output."""
    values = answer(model, encode(segments, model.inputs, model.outputs), places).values
    return {name: output.frame(values[name], segments, places) for name, output in model.outputs.items()}


def answer_rows(
    model: SequenceModel, output: Output, segments: Segments, places: Places
) -> tuple[pl.DataFrame, Steps]:
    """One output's answers to new rows, and the numbers from 0 of rows that have none.

    Rows are told apart by their numbers while they are answered, since several may have one id.
    """
    numbered = replace(segments, ids=[str(row) for row in range(len(segments))])
    values = answer(model, encode(segments, model.inputs, model.outputs), places).values[output.name]
    frame = output.ahead(values, numbered, places)
    rows = frame["id"].cast(pl.Int64).to_numpy()
    names = pl.Series("id", [segments.ids[row] for row in rows], dtype=pl.String)
    return frame.with_columns(names), np.setdiff1d(places.segment, rows)


def _scales(parts: list[Scale], order: Steps) -> Scale:
    loc, spread = (torch.cat(part)[order] for part in zip(*parts, strict=True))
    return Scale(loc, spread)


def _in_chunks(model: SequenceModel, encoded: Encoded, places: Places) -> Iterator[Answered]:
    """Rows in batches, long ones chunk by chunk."""
    for rows in in_batches(encoded, places):
        found: dict[str, list[Array]] = {name: [] for name in model.outputs}
        for batch, _, raw in read_rows(model, encoded, places.take(rows)):
            for name, answered in raw.items():
                found[name].append(_natural(model.outputs[name], answered, batch))
        joined = {name: np.concatenate(parts, axis=1) if parts[1:] else parts[0] for name, parts in found.items()}
        yield Answered(rows, joined, batch.scales)


def _in_pieces(model: SequenceModel, encoded: Encoded, places: Places) -> Iterator[Answered]:
    """Rows in batches, each read whole or from where its state is."""
    for piece in (_carried if model.carries_state else _windows)(model, encoded, places):
        values = {name: answer_piece(model, output, piece) for name, output in model.outputs.items()}
        yield Answered(piece.rows, values, piece.batch.scales)


def _windows(model: SequenceModel, encoded: Encoded, places: Places) -> Iterator[Piece]:
    """Places in batches, each row read from its own start."""
    for rows in in_batches(encoded, places):
        yield Piece(rows, cut(encoded, places.take(rows), model.inputs, model.outputs), None)


def in_batches(encoded: Encoded, places: Places) -> Iterator[Steps]:
    """The numbers of some places in batches of neighbours; where rows have a time axis of their own, by length."""
    every = np.arange(len(places.segment))
    if any(isinstance(column, Ragged) for column in encoded.inputs.values()):
        every = np.argsort(steps_of(encoded, places), kind="stable")
    for start in range(0, len(every), BATCH):
        yield every[start : start + BATCH]


def _carried(model: SequenceModel, encoded: Encoded, places: Places) -> Iterator[Piece]:
    """Each series read once; at every origin the state is forked, and what is left is only the future.

    The scale is that of the history before the first origin, and stays: it may not change while a state lives.
    """
    for segment in np.unique(places.segment):
        rows = np.flatnonzero(places.segment == segment)
        state, scales, start = None, None, np.zeros(1, np.int64)
        for row in rows[np.argsort(places.origin[rows], kind="stable")]:
            place = places.take(row[None])
            past = cut(encoded, Places(place.segment, start, place.origin, place.origin), model.inputs, {}, scales)
            state, scales, start = model.read(past, state)[1], past.scales, place.origin
            yield Piece(row[None], cut(encoded, place._replace(start=start), model.inputs, {}, scales), state)


def read_rows(
    model: SequenceModel, encoded: Encoded, places: Places
) -> Iterator[tuple[Batch, Reading, dict[str, Tensor]]]:
    """What was read of some rows, and raw answers: as a whole, or in chunks with the state carried where that can be.

    Outputs with one answer for each step answer every chunk, others with the last one. Memory does not grow
    with the length of rows that are read in chunks.
    """
    steps = max(CELLS // max(len(places.segment), 1), 1)
    whole = model.whole_only is not None or any(output.whole_rows for output in model.outputs.values())
    if whole or int((places.origin - places.start).max(initial=0)) <= steps:
        batch = cut(encoded, places, model.inputs, model.outputs)
        reading, _ = model.read(batch)
        yield batch, reading, model.decode(reading)
        return
    scales, memory = own_scales(encoded, places, model.inputs), model.initial_memory(len(places.segment))
    chunks = list(in_chunks(places, steps))
    for k, chunk in enumerate(chunks):
        batch, final = cut(encoded, chunk, model.inputs, model.outputs, scales), k == len(chunks) - 1
        reading, memory = model.advance(batch, memory, final=final)
        yield batch, reading, model.decode_chunk(reading, memory, final=final)


def answer_piece(model: SequenceModel, output: Output, piece: Piece) -> Array:
    """One output's natural answers; a forecast beyond its block is fed back."""
    batch = piece.batch
    if isinstance(output, Forecast) and int((batch.lengths - batch.origins).max()) > output.block:
        return feed_back(model, output, batch, piece.state)
    reading, _ = model.read(batch, piece.state)
    return output.answer(reading, batch.scales.get(output.source) if output.source else None)


def _natural(output: Output, raw: Tensor, batch: Batch) -> Array:
    """Raw answers in natural units, beside the truth where it is at hand."""
    scale = batch.scales.get(output.source) if output.source else None
    target = batch.targets.get(output.name)
    return output.answers(raw, scale) if target is None else output.compared(raw, scale, target)


def _joined(parts: list[Array]) -> Array:
    """Batches one after another; shorter ones (labels of shorter sequences) are filled up with NaN."""
    longest = max((part.shape[1] for part in parts), default=0)
    filled = [
        np.pad(part, [(0, 0), (0, longest - part.shape[1]), *[(0, 0)] * (part.ndim - 2)], constant_values=np.nan)
        for part in parts
    ]
    return np.concatenate(filled) if filled else np.zeros((0, 0, 0))


def feed_back(model: SequenceModel, output: Forecast, batch: Batch, state: Any = None) -> Array:
    """A forecast in blocks: each row's future is drawn `PATHS` times, every block read back as if observed.

    The past is read once; its state is forked for the draws. Within a block all steps take the same
    quantile level, so that a path stays high or low; levels of the blocks are spread evenly and shuffled.
    Other past inputs stay as they were at the origin, their lags too: nothing new is known of them.

    Returns:
        (B, U, C, Q) quantiles over the paths, calibrated, in natural units.
    """
    if not model.causal:
        raise RecipeError(
            f"a model that {model.reads_ahead} cannot read its own forecasts back: answer the whole horizon at once "
            f"(outputs.{output.name}.block: {output.horizon}) or train one without that"
        )
    source = str(output.source)
    horizon = int((batch.lengths - batch.origins).max())
    if state is None:
        state = read_past(model, batch)
    rows = torch.arange(len(batch.origins)).repeat_interleave(PATHS)
    state, batch = select(state, rows), select_batch(batch, rows)
    random = torch.Generator().manual_seed(0)
    scaled: list[Tensor] = []
    for start in range(0, horizon, output.block):
        steps = min(output.block, horizon - start)
        block = stretch(batch, batch.origins + start, steps)
        reading, _ = model.read(block._replace(origins=torch.zeros_like(block.origins)), state)
        level = _levels(len(rows) // PATHS, random)
        path = _at_level(output(reading), torch.tensor(output.quantiles), level)
        scaled.append(path)
        observed = batch.scales[source].invert(path)
        batch = _observe(batch, source, model.inputs[source].lags, start, observed)
        _, state = model.read(stretch(batch, batch.origins + start, steps), state)
    drawn = torch.cat(scaled, dim=1)
    paths = drawn.reshape(-1, PATHS, *drawn.shape[1:])
    quantiles = torch.quantile(paths, torch.tensor(output.quantiles, dtype=paths.dtype), dim=1)
    scale = Scale(*(part[::PATHS] for part in batch.scales[source]))
    return output.answers(quantiles.permute(1, 2, 3, 0), scale)


def read_past(model: SequenceModel, batch: Batch) -> Any:
    """The state of each row at its origin."""
    longest = int(batch.origins.max()) if len(batch.origins) else 0
    return model.read(stretch(batch, torch.zeros_like(batch.origins), longest, batch.origins))[1]


def stretch(batch: Batch, start: Tensor, steps: int, lengths: Tensor | None = None) -> Batch:
    """So many steps of each row from its own `start` (B,), all of them past; `lengths` of them valid."""
    index = start.unsqueeze(1) + torch.arange(steps)
    lengths = torch.full_like(start, steps) if lengths is None else lengths

    def along(values: Tensor) -> Tensor:
        if values.dim() < 3:
            return values
        return values[torch.arange(len(start)).unsqueeze(1), index.clamp(max=max(values.shape[1] - 1, 0))]

    inputs = {name: along(values) for name, values in batch.inputs.items()}
    return Batch(inputs, {}, batch.scales, lengths, lengths)


def select_batch(batch: Batch, rows: Tensor) -> Batch:
    """Some rows of a batch, without targets."""
    scales = {name: Scale(*(part[rows] for part in scale)) for name, scale in batch.scales.items()}
    inputs = {name: values[rows] for name, values in batch.inputs.items()}
    return Batch(inputs, {}, scales, batch.lengths[rows], batch.origins[rows])


def _levels(count: int, random: torch.Generator) -> Tensor:
    """(count * PATHS,) levels: the same even spread for each row, in an order of its own."""
    order = torch.stack([torch.randperm(PATHS, generator=random) for _ in range(count)])
    return ((order + 0.5) / PATHS).flatten()


def _at_level(raw: Tensor, quantiles: Tensor, level: Tensor) -> Tensor:
    """(R, U, C): the value at each row's level, between neighbouring quantiles; the outermost bound it."""
    ordered = raw.sort(dim=-1).values
    high = torch.searchsorted(quantiles.to(level), level).clamp(1, len(quantiles) - 1)
    low = high - 1
    share = ((level - quantiles[low]) / (quantiles[high] - quantiles[low])).clamp(0, 1).reshape(-1, 1, 1)

    def take(index: Tensor) -> Tensor:
        return ordered.gather(-1, index.reshape(-1, 1, 1, 1).expand(*ordered.shape[:3], 1)).squeeze(-1)

    return take(low) * (1 - share) + take(high) * share


def _observe(batch: Batch, source: str, lags: Sequence[int], start: int, values: Tensor) -> Batch:
    """The batch with `values` (R, U, C) in place of its source's coming steps from `start` on, and in its lags."""
    inputs = dict(batch.inputs)
    T, C, U = inputs[source].shape[1], values.shape[2], values.shape[1]
    # One more step, thrown away at the end, takes what would lie beyond the last.
    found = torch.nn.functional.pad(inputs[source], (0, 0, 0, 1))
    rows = torch.arange(len(found)).unsqueeze(1)
    first = batch.origins.unsqueeze(1) + start + torch.arange(U)
    found[rows, first.clamp(max=T), :C] = values
    for k, lag in enumerate(lags, start=1):
        # Steps of the same phase further on show the value too, until a later one is known.
        for times in range(T // lag, 0, -1):
            found[rows, (first + times * lag).clamp(max=T), k * C : (k + 1) * C] = values
    inputs[source] = found[:, :T]
    return batch._replace(inputs=inputs)
