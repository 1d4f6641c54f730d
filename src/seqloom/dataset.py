"""`Dataset`: a table read as a recipe asks, with its parts and the windows of each part."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from seqloom.data.columns import ColumnUse
from seqloom.data.examples import read_examples
from seqloom.data.ledger import Ledger
from seqloom.data.lines import read_lines
from seqloom.data.preflight import check_examples, check_series, check_to_answer
from seqloom.data.segments import Column, Segments
from seqloom.data.series import extend, history_ends, missing, read_series
from seqloom.data.settings import DataSettings, SplitSettings
from seqloom.data.splits import ExampleSplit, Part, SeriesSplit, split_examples, split_series
from seqloom.data.tables import locate_table, read_table, to_polars
from seqloom.errors import DataError, RecipeError
from seqloom.inputs.input import Input, Role
from seqloom.model import SequenceModel
from seqloom.outputs.output import Places, Shape, Steps

SERIES_NAME = "unique_id"  # in a table without that column, it stands for the name of each series


@dataclass(frozen=True)
class Dataset:
    """A table as segments, extended by the horizon, and what is known about it.

    Attributes:
        segments: the sequences.
        ends: (S,) where the history of each segment ends; coming steps follow.
        split: which part each step or row belongs to; None where a table is only answered, not learned from.
        ledger: every problem found on the way.
        fingerprint: hash of the table's content.
        folder: where relative paths in a recipe begin: that of the table, or of a frame the working folder.
    """

    segments: Segments
    ends: Steps
    split: SeriesSplit | ExampleSplit | None
    ledger: Ledger
    fingerprint: str
    folder: Path = Path()


def column_uses(model: SequenceModel) -> list[ColumnUse]:
    """What a model does with each column of its table; a target comes first where a column is both."""
    uses: dict[str, ColumnUse] = {}
    for output in model.outputs.values():
        for column in output.columns:
            role: Literal["target", "written"] = "target" if output.is_class else "written"
            uses[column] = ColumnUse(column, "text" if output.reads_text else "number", role, output.next_asked)
        for column in output.numbers:
            uses.setdefault(column, ColumnUse(column, "number", "static"))
    for input in model.inputs.values():
        for column in input.columns:
            found = ColumnUse(column, "text" if input.reads_text else "number", _role(input))
            if column in uses and found.kind != uses[column].kind:
                raise RecipeError(f"column {column!r} is used as {uses[column].kind} and as {found.kind}; choose one")
            uses.setdefault(column, found)
    return list(uses.values())


def _role(input: Input) -> Literal["past", "known", "static", "cell"]:
    if input.own_axis:
        return "cell"
    return "past" if input.role is Role.PAST else "known" if input.role is Role.KNOWN else "static"


def read_dataset(
    model: SequenceModel,
    data: object,
    *,
    learn: bool = True,
    horizon: int | None = None,
    ledger: Ledger | None = None,
) -> Dataset:
    """Read, check and divide a table.

    Args:
        model: the declared model; nothing is fitted here.
        data: a path, a Polars or a pandas frame.
        learn: whether parts are wanted; a table that is only answered needs no truth and no parts.
        horizon: coming steps to make room for; that of the model where omitted.
        ledger: where to enter problems, for a caller who wants to see them even if they stop the reading.

    Raises:
        DataError: the table cannot be read.
        PreflightError: it can, and has problems that make answers wrong; all of them are listed.
    """
    ledger = Ledger() if ledger is None else ledger
    ledger.stopped = "training" if learn else "answering"
    frame = _frame(model, data, ledger)
    uses = column_uses(model)
    if not learn:
        wanted = {*frame.columns, *(column for input in model.inputs.values() for column in input.columns)}
        uses = [use for use in uses if use.name in wanted or model.horizon]
    if model.recipe.data.time is None:
        found = _examples(model, frame, uses, ledger, learn)
    else:
        found = _series(model, frame, uses, ledger, learn, model.horizon if horizon is None else horizon)
    return replace(found, folder=_folder(data))


def _folder(data: object) -> Path:
    """Where relative paths in a recipe begin: at the folder of the data, or of a frame at the working folder."""
    if not isinstance(data, str | Path):
        return Path()
    return Path(data) if Path(data).is_dir() else Path(data).parent


def _frame(model: SequenceModel, data: object, ledger: Ledger) -> pl.DataFrame:
    settings = model.recipe.data
    if not isinstance(data, str | Path):
        return to_polars(data, settings)
    if settings.lines and Path(data).is_dir():
        ledger.source = Path(data)
        return read_lines(Path(data), settings.lines, ledger)
    ledger.source = locate_table(Path(data), settings)
    return read_table(ledger.source, settings)


def _examples(model: SequenceModel, frame: pl.DataFrame, uses: list[ColumnUse], ledger: Ledger, learn: bool) -> Dataset:
    settings = model.recipe.data
    if model.horizon:
        raise RecipeError("a forecast needs a time axis; name the column of dates in data.time")
    segments = read_examples(frame, settings if learn else _to_answer(settings, frame), uses, ledger)
    ledger.raise_if_errors()
    split = split_examples(segments, settings.split) if learn else None
    if split is None:
        check_to_answer(segments, uses, ledger)
    else:
        check_examples(segments, uses, split, ledger)
        ledger.raise_if_errors()
    return Dataset(segments, segments.lengths, split, ledger, fingerprint(segments))


def _to_answer(settings: DataSettings, frame: pl.DataFrame) -> DataSettings:
    """The settings without the columns that say how to learn from rows, or what they are called where they are not."""
    names = {"id": settings.id if settings.id in frame.columns else None, "split": SplitSettings()}
    return settings.model_copy(update=names)


def _series(
    model: SequenceModel, frame: pl.DataFrame, uses: list[ColumnUse], ledger: Ledger, learn: bool, horizon: int
) -> Dataset:
    settings = model.recipe.data
    if any(output.shape is Shape.VECTOR for output in model.outputs.values()):
        raise RecipeError(
            "an answer for a whole sequence needs a table of examples, one row each, with lists along time; "
            "remove data.time and put each sequence into one row"
        )
    whole = next((input for input in model.inputs.values() if input.own_axis), None)
    if whole is not None:
        raise RecipeError(
            f"inputs.{whole.name}: each of its cells is a whole sequence, in a row of its own, but data.time says that "
            "rows are steps of series; remove data.time, or this input"
        )
    targets = [use.name for use in uses if use.role == "target"]
    named = SERIES_NAME in {use.name for use in uses} and SERIES_NAME not in frame.columns
    uses = [use for use in uses if not (named and use.name == SERIES_NAME)]
    segments = read_series(frame, settings, uses, ledger)
    if named:
        names = np.array(segments.ids, dtype=object)
        segments = replace(segments, static={**segments.static, SERIES_NAME: names})
    ledger.raise_if_errors()
    ends = history_ends(segments, targets) if targets else segments.lengths
    split = None
    if learn:
        split = split_series(segments, settings.split, targets)
        check_series(segments, uses, split, horizon, settings.context_length or 0, ledger)
        ledger.raise_if_errors()
    extended = extend(segments, horizon, targets) if horizon else segments
    return Dataset(extended, ends, split, ledger, fingerprint(segments))


def fingerprint(segments: Segments) -> str:
    """SHA-256 over ids, lengths, dates and all values."""
    digest = hashlib.sha256()
    digest.update("\0".join(segments.ids).encode())
    digest.update(segments.offsets.tobytes())
    if segments.times is not None:
        digest.update(segments.times.tobytes())
    for name, column in sorted({**segments.steps, **segments.static}.items()):
        digest.update(name.encode())
        text = column.dtype == object
        digest.update("\0".join(map(str, column.tolist())).encode() if text else np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


def training_columns(model: SequenceModel, dataset: Dataset) -> tuple[dict[str, Column], dict[str, Column]]:
    """The training part of what every input and every output reads; nothing else may be fitted on."""
    segments, split = dataset.segments, dataset.split
    if isinstance(split, SeriesSplit):
        step = np.arange(segments.offsets[-1]) - np.repeat(segments.offsets[:-1], segments.lengths)
        steps = step < np.repeat(split.valid, segments.lengths)
        rows = split.valid > 0
    else:
        assert split is not None
        rows = split.part == "train"
        steps = np.repeat(rows, segments.lengths)
    inputs = {n: i.read(segments)[rows if i.per_row else steps] for n, i in model.inputs.items()}
    outputs = {n: o.read(segments)[rows if o.per_row else steps] for n, o in model.outputs.items()}
    return inputs, outputs


def part_places(model: SequenceModel, dataset: Dataset, part: Part, steps: int | None = None) -> Places:
    """All windows, or examples, of a part; forecasts look `steps` ahead, the whole horizon where omitted.

    Training windows start at every step. Scored ones are `data.split.stride` steps apart. A window belongs to a
    part when all its target steps do; windows without any observed target are left out.
    """
    if isinstance(dataset.split, ExampleSplit):
        return whole(dataset, dataset.split.rows(part))
    assert dataset.split is not None
    first, after = dataset.split.range_of(part)
    if not model.horizon:
        return _stretches(first, after, model.recipe.data.context_length)
    stride = 1 if part == "train" else model.recipe.data.split.stride
    ahead = model.horizon if steps is None else steps
    found = [
        np.stack([np.full_like(origins, k), origins])
        for k, (low, high) in enumerate(zip(first, after, strict=True))
        if len(origins := np.arange(low, high - ahead + 1, stride, dtype=np.int64))
    ]
    if not found:
        raise DataError(
            f"the {part} part has no room for a window of {ahead} steps; "
            f"expected at least that many: shorten the horizon, or move data.split.{part}"
        )
    segment, origin = np.concatenate(found, axis=1)
    return _observed(model, dataset, window_places(model, segment, origin, ahead))


def window_places(model: SequenceModel, segment: Steps, origin: Steps, horizon: int | None = None) -> Places:
    """Windows that read `data.context_length` steps, or everything, before each origin."""
    context = model.recipe.data.context_length
    start = np.maximum(origin - context, 0) if context else np.zeros_like(origin)
    return Places(segment, start, origin, origin + (model.horizon if horizon is None else horizon))


def coming_places(model: SequenceModel, dataset: Dataset, horizon: int | None = None) -> Places:
    """One window for each segment, at the end of its history."""
    if not model.horizon:
        return whole(dataset, np.arange(len(dataset.segments)))
    return window_places(model, np.arange(len(dataset.segments)), dataset.ends, horizon)


def shortened(places: Places, longest: int) -> Places:
    """The places with at most so many past steps, for learning from histories too long to read each time."""
    return places._replace(start=np.maximum(places.start, places.origin - longest))


def whole(dataset: Dataset, rows: Steps) -> Places:
    """Whole segments."""
    lengths = dataset.segments.lengths[rows]
    return Places(rows, np.zeros_like(rows), lengths, lengths)


def _stretches(first: Steps, after: Steps, longest: int | None) -> Places:
    """Each segment's part, cut into pieces of at most `longest` steps."""
    found = [
        (k, start, min(start + (longest or high), high))
        for k, (low, high) in enumerate(zip(first.tolist(), after.tolist(), strict=True))
        for start in range(low, high, longest or max(high - low, 1))
    ]
    segment, start, stop = np.array(found, np.int64).reshape(-1, 3).T
    return Places(segment, start, stop, stop)


def _observed(model: SequenceModel, dataset: Dataset, places: Places) -> Places:
    segments = dataset.segments
    columns = [c for output in model.outputs.values() for c in output.columns]
    seen = np.zeros(int(segments.offsets[-1]) + 1, np.int64)
    seen[1:] = np.cumsum(~np.all([missing(segments.steps[c]) for c in columns], axis=0))
    first = segments.offsets[places.segment]
    return places.take(np.flatnonzero(seen[first + places.stop] > seen[first + places.origin]))


def thin(places: Places, most: int) -> Places:
    """At most so many places, evenly spread."""
    count = len(places.segment)
    return places if count <= most else places.take(np.linspace(0, count - 1, most).round().astype(np.int64))
