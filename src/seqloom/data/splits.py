"""Dividing data into train, valid and test: by time for series, by rows or groups for examples."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from seqloom.data.calendar_grid import Integers, Times
from seqloom.data.segments import Column, Segments
from seqloom.data.series import history_ends
from seqloom.data.settings import SplitSettings
from seqloom.errors import DataError

Part = Literal["train", "valid", "test"]
PARTS: tuple[Part, ...] = ("train", "valid", "test")


@dataclass(frozen=True)
class SeriesSplit:
    """The parts of each segment as steps counted from its own start, all (S,) int64.

    Segment s trains on `[0, valid[s])`, is validated on `[valid[s], test[s])` and tested on
    `[test[s], end[s])`; steps from `end[s]` on are not scored. The dates say the same for all of them
    and are None where a column of the table made the parts.
    """

    valid: Integers
    test: Integers
    end: Integers
    valid_date: np.datetime64 | None = None
    test_date: np.datetime64 | None = None
    end_date: np.datetime64 | None = None

    def range_of(self, part: Part) -> tuple[Integers, Integers]:
        """First step of `part` in each segment, and the step after its last."""
        edges = (np.zeros_like(self.valid), self.valid, self.test, self.end)
        place = PARTS.index(part)
        return edges[place], edges[place + 1]


@dataclass(frozen=True)
class ExampleSplit:
    """`part` (S,) holds train, valid or test for each example."""

    part: npt.NDArray[np.str_]

    def rows(self, part: Part) -> Integers:
        """Numbers of the examples in `part`, from 0, in the order of the table."""
        return np.flatnonzero(self.part == part).astype(np.int64)


def split_series(segments: Segments, settings: SplitSettings, targets: Sequence[str]) -> SeriesSplit:
    """Divide all series at the same two dates, or as the column `settings.column` says.

    Shares are shares of the distinct dates up to the last observed target. A share of 0 leaves that part
    out on purpose; any other part that turns out empty is an error.
    """
    if segments.times is None:
        raise ValueError("split_series needs a time axis; examples are divided by split_examples")
    if settings.group is not None:
        raise DataError(
            f"data.split.group is '{settings.group}', but series are divided by time; expected no group. "
            "Remove it, or use data.split.column to put whole series into parts."
        )
    ends = history_ends(segments, targets)
    if not ends.any():
        raise DataError(f"no series has an observed value in {_quoted(targets)}; expected at least one.")
    if settings.column is not None:
        return _by_column(segments, settings.column, ends)
    if any(not isinstance(value, str) and value >= 1 for value in (settings.valid, settings.test)):
        return _by_steps(settings, ends)
    return _by_date(segments, segments.times, settings, ends)


def split_examples(segments: Segments, settings: SplitSettings) -> ExampleSplit:
    """Divide examples by the column `settings.column`, or draw shares of them, whole groups at a time."""
    if settings.column is not None:
        return ExampleSplit(_read_parts(settings.column, _static(segments, settings.column)))
    shares = {"valid": _share(settings.valid, "valid"), "test": _share(settings.test, "test")}
    _require_room(shares)
    part = _draw(_groups(segments, settings), shares, settings.seed)
    wanted: tuple[Part, ...] = ("train", *(name for name in PARTS[1:] if shares[name] > 0))
    _require_parts(part, wanted, "the draw")
    return ExampleSplit(part)


def _read_parts(name: str, column: Column) -> npt.NDArray[np.str_]:
    parts = _named_parts(name, column)
    absent = [row for row, part in enumerate(parts, 1) if part is None]
    if absent:
        raise DataError(
            f"column '{name}', row {absent[0]}: the part is missing ({len(absent)} such rows); "
            f"expected one of {', '.join(PARTS)}. Fill it in."
        )
    part = parts.astype(np.str_)
    _require_parts(part, ("train",), f"column '{name}'")
    return part


def _by_date(segments: Segments, times: Times, settings: SplitSettings, ends: Integers) -> SeriesSplit:
    owner = np.repeat(np.arange(len(segments)), segments.lengths)
    within = np.arange(len(times)) - segments.offsets[owner]
    axis = np.unique(times[within < ends[owner]])
    after = axis[-1] + np.timedelta64(1, "us")
    until = after if settings.until is None else _date(settings.until, "until", axis, end_of_day=True)
    axis = axis[axis < until]
    test = _boundary(settings.test, "test", axis, before=0.0)
    valid = _boundary(settings.valid, "valid", axis, before=_share_after(axis, test))
    _require_order(valid, test, until, axis)
    edges = [np.minimum(_steps_before(segments, times, edge), ends) for edge in (valid, test, until)]
    split = SeriesSplit(edges[0], edges[1], edges[2], valid, test, axis[-1])
    _require_scored(split, settings)
    return split


def _by_steps(settings: SplitSettings, ends: Integers) -> SeriesSplit:
    """The last steps of each series, wherever it ends."""
    counts = []
    for name in ("valid", "test"):
        value = getattr(settings, name)
        if isinstance(value, str) or value != int(value):
            raise DataError(
                f"data.split.{name} is {value!r} beside a number of steps; expected a whole number of steps "
                "for both valid and test (0 leaves a part out)."
            )
        counts.append(int(value))
    test = np.maximum(ends - counts[1], 0)
    split = SeriesSplit(np.maximum(test - counts[0], 0), test, ends)
    _require_scored(split, settings)
    return split


def _boundary(value: float | str, name: str, axis: Times, before: float) -> np.datetime64:
    """The first date of a part; `before` is the share of the dates that later parts take."""
    if isinstance(value, str):
        return _date(value, name, axis)
    place = len(axis) - round(len(axis) * (_share(value, name) + before))
    date: np.datetime64 = axis[max(place, 0)] if place < len(axis) else axis[-1] + np.timedelta64(1, "us")
    return date


def _share_after(axis: Times, date: np.datetime64) -> float:
    return float(np.mean(axis >= date))


def _steps_before(segments: Segments, times: Times, date: np.datetime64) -> Integers:
    earlier = np.concatenate([[0], np.cumsum(times < date)])
    return np.asarray(np.diff(earlier[segments.offsets]), dtype=np.int64)


def _date(text: str, name: str, axis: Times, *, end_of_day: bool = False) -> np.datetime64:
    if not re.match(r"\d{4}-\d{2}-\d{2}", text):
        raise DataError(
            f"data.split.{name} is '{text}'; expected a date such as {_text(axis[-1])}, or a share such as 0.15."
        )
    try:
        date = np.datetime64(text.strip().replace(" ", "T"), "us")
    except ValueError as error:
        raise DataError(f"data.split.{name} is '{text}', which is no date: {error}.") from error
    if not axis[0] <= date <= axis[-1]:
        raise DataError(
            f"data.split.{name} is {text}, but the data run from {_text(axis[0])} to {_text(axis[-1])}; "
            "expected a date between them."
        )
    # As the last date of a part, a day without a clock means all of that day.
    last = np.timedelta64(1, "D") if len(text.strip()) == 10 else np.timedelta64(1, "us")
    return date + last if end_of_day else date


def _require_order(valid: np.datetime64, test: np.datetime64, until: np.datetime64, axis: Times) -> None:
    if not axis[0] < valid <= test <= until:
        raise DataError(
            f"the parts are out of order: train from {_text(axis[0])}, valid from {_text(valid)}, test from "
            f"{_text(test)} until {_text(axis[-1])}; expected each to begin after the one before. "
            "Correct data.split.valid, data.split.test and data.split.until."
        )


def _require_scored(split: SeriesSplit, settings: SplitSettings) -> None:
    for part in PARTS:
        first, after = split.range_of(part)
        wanted = part == "train" or getattr(settings, part) != 0
        if wanted and not np.any(after > first):
            raise DataError(
                f"the {part} part has no observed step (valid from {split.valid_date}, test from {split.test_date}, "
                f"until {split.end_date}). Move data.split.valid or data.split.test, or bring more data."
            )


def _by_column(segments: Segments, name: str, ends: Integers) -> SeriesSplit:
    """Parts named by a column: one part per series, or parts that follow each other in time."""
    if name in segments.static:
        column = np.repeat(_named_parts(name, segments.static[name]), segments.lengths)
    else:
        column = _named_parts(name, segments.steps[name])
    edges = np.zeros((len(PARTS), len(segments)), dtype=np.int64)
    for s, end in enumerate(ends):
        part = column[segments.offsets[s] : segments.offsets[s + 1]][:end]
        places = np.array([PARTS.index(value) if value is not None else -1 for value in part])
        order = places[places >= 0]
        if np.any(np.diff(order) < 0):
            raise DataError(
                f"column '{name}' returns to an earlier part within series '{segments.ids[s]}'; "
                "expected train, then valid, then test in the order of time."
            )
        edges[:, s] = [_first_at_or_after(places, 1), _first_at_or_after(places, 2), end]
    split = SeriesSplit(edges[0], edges[1], edges[2])
    if not split.valid.any():
        raise DataError(f"column '{name}' leaves the train part empty; expected at least one row with 'train'.")
    return split


def _first_at_or_after(places: npt.NDArray[np.int64], part: int) -> int:
    found = np.flatnonzero(places >= part)
    return int(found[0]) if found.size else len(places)


def _named_parts(name: str, column: Column) -> npt.NDArray[np.object_]:
    """The column in lower case, None where missing, checked to hold names of parts only."""
    parts = np.array([None if value is None else str(value).strip().lower() for value in column], dtype=object)
    unknown = sorted({value for value in parts if value is not None} - set(PARTS))
    if unknown:
        row = int(np.flatnonzero(parts == unknown[0])[0]) + 1
        raise DataError(
            f"column '{name}' holds '{unknown[0]}' (first in step or row {row}); expected {', '.join(PARTS)}."
        )
    return parts


def _share(value: float | str, name: str) -> float:
    if isinstance(value, str):
        raise DataError(
            f"data.split.{name} is '{value}', but the table has no time axis; expected a share such as 0.15. "
            "Set data.time if rows are steps of series."
        )
    if not 0 <= value < 1:
        raise DataError(f"data.split.{name} is {value}; expected a share from 0 to below 1, such as 0.15.")
    return value


def _require_room(shares: dict[str, float]) -> None:
    if sum(shares.values()) >= 1:
        raise DataError(
            f"data.split.valid {shares['valid']} and data.split.test {shares['test']} leave nothing to train on; "
            "expected a sum below 1."
        )


def _groups(segments: Segments, settings: SplitSettings) -> Integers:
    """The group of each example; without a group column each is its own."""
    if settings.group is None:
        return np.arange(len(segments), dtype=np.int64)
    column = _static(segments, settings.group)
    known: dict[object, int] = {}
    # A missing name joins nobody: such examples stand alone.
    return np.array(
        [known.setdefault(("row", s) if value is None else value, len(known)) for s, value in enumerate(column)],
        dtype=np.int64,
    )


def _static(segments: Segments, name: str) -> Column:
    if name not in segments.static:
        raise DataError(f"data.split names column '{name}'; expected one of {', '.join(segments.static)}.")
    return segments.static[name]


def _draw(groups: Integers, shares: dict[str, float], seed: int) -> npt.NDArray[np.str_]:
    """Shuffle the groups and fill test, then valid, until each has its share of the rows."""
    sizes = np.bincount(groups)
    order = np.random.default_rng(seed).permutation(len(sizes))
    # A group belongs to the part in which the middle of its rows falls.
    middle = np.cumsum(sizes[order]) - sizes[order] / 2
    edges = np.cumsum([shares["test"], shares["valid"]]) * len(groups)
    drawn = np.array(["test", "valid", "train"])[np.searchsorted(edges, middle, side="right")]
    part = np.empty(len(sizes), dtype=drawn.dtype)
    part[order] = drawn
    return np.asarray(part[groups])


def _require_parts(part: npt.NDArray[np.str_], wanted: Sequence[Part], source: str) -> None:
    counts = {name: int(np.sum(part == name)) for name in PARTS}
    for name in wanted:
        if counts[name] == 0:
            said = ", ".join(f"{key} {count}" for key, count in counts.items())
            raise DataError(
                f"{source} leaves the {name} part empty ({said} rows of {len(part)}). Bring more rows or groups, "
                "or change data.split."
            )


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _text(time: np.datetime64) -> str:
    text = str(time.astype("datetime64[s]")).replace("T", " ")
    return text.removesuffix(" 00:00:00")
