"""From a table of dated rows to series on a regular grid.

Nothing is imputed: a step that the table lacks is there with its values missing. Rows are dropped in
one case only, when they repeat another row exactly, and are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import numpy.typing as npt
import polars as pl

from seqloom.data.calendar_grid import (
    HOUR,
    Booleans,
    Integers,
    Times,
    grid_index,
    infer_frequency,
    is_month_end,
    offset_times,
    parse_frequency,
    shift_times,
)
from seqloom.data.columns import ColumnUse, number_column, require_columns, text_column
from seqloom.data.dates import time_column
from seqloom.data.ledger import Ledger
from seqloom.data.segments import Column, Segments
from seqloom.data.settings import DataSettings

STACKED_VALUE = "y"
"""Name of the value column of a wide table whose columns are stacked into series."""

# A grid far larger than its table means a wrong frequency or date, and would fill the memory.
_LARGEST_GRID = 100


@dataclass(frozen=True)
class _Rows:
    """The read rows in one long table: everything (n,); `rows` counts from 1 in the file."""

    names: list[str]
    codes: Integers
    times: Times
    rows: Integers
    values: dict[str, Column]

    def take(self, which: npt.NDArray[np.generic]) -> _Rows:
        values = {name: column[which] for name, column in self.values.items()}
        return _Rows(self.names, self.codes[which], self.times[which], self.rows[which], values)


def read_series(frame: pl.DataFrame, settings: DataSettings, uses: Sequence[ColumnUse], ledger: Ledger) -> Segments:
    """Read a long, wide or single-series table.

    Problems are entered in `ledger`. Bad cells do not stop the reading (they become missing), so that
    one pass finds them all: call `ledger.raise_if_errors()` before using the result.

    Raises:
        PreflightError: there is no grid to put the values on, because columns are missing or dates are
            missing, repeated with other values, or off the grid.
    """
    rows = _read_rows(frame, settings, uses, ledger)
    rows = _drop_repeated(_sort(rows, ledger), ledger)
    frequency = settings.frequency or infer_frequency(rows.times, rows.codes)
    if frequency is None:
        message = "no series has two dates, so their distance is unknown. Set data.frequency, such as 1d or 1h."
        ledger.add("error", "frequency", message)
        ledger.raise_if_errors()
    return _on_grid(rows, str(frequency), uses, ledger)


def history_ends(segments: Segments, targets: Sequence[str]) -> Integers:
    """(S,) step of each segment that follows its last observed target; 0 where none is observed."""
    observed = np.zeros(int(segments.offsets[-1]), dtype=bool)
    for name in targets:
        observed |= ~missing(segments.steps[name])
    ends = np.zeros(len(segments), dtype=np.int64)
    places = np.flatnonzero(observed)
    owner = np.searchsorted(segments.offsets, places, side="right") - 1
    np.maximum.at(ends, owner, places - segments.offsets[owner] + 1)
    return ends


def extend(segments: Segments, steps: int, targets: Sequence[str]) -> Segments:
    """Give every segment at least `steps` steps after its last observed target.

    Added steps continue the grid and hold missing values; steps that are there already, with values
    known ahead, are kept.
    """
    if segments.times is None or segments.frequency is None:
        raise ValueError("only segments with a time axis can be extended")
    lengths = np.maximum(segments.lengths, history_ends(segments, targets) + steps)
    offsets = _offsets(lengths)
    places = _places(segments.offsets, offsets)
    size = int(offsets[-1])
    spread = {name: _scatter(column, places, size) for name, column in segments.steps.items()}
    times = np.empty(size, dtype="datetime64[us]")
    for s in range(len(segments)):
        times[offsets[s] : offsets[s + 1]] = _continued(segments, s, int(lengths[s]))
    return Segments(segments.ids, offsets, spread, segments.static, times, segments.frequency)


def select(segments: Segments, chosen: Sequence[int] | npt.NDArray[np.integer]) -> Segments:
    """The segments whose numbers are `chosen`, in that order."""
    which = np.asarray(chosen, dtype=np.int64)
    offsets = _offsets(segments.lengths[which])
    places = np.repeat(segments.offsets[which] - offsets[:-1], np.diff(offsets)) + np.arange(offsets[-1])
    return Segments(
        [segments.ids[s] for s in which],
        offsets,
        {name: column[places] for name, column in segments.steps.items()},
        {name: column[which] for name, column in segments.static.items()},
        None if segments.times is None else segments.times[places],
        segments.frequency,
    )


def missing(column: Column) -> Booleans:
    """(n,) whether a value is missing: NaN (in any feature) or None."""
    if column.dtype == object:
        return np.asarray(np.equal(column, None)).astype(np.bool_)  # type: ignore[call-overload]
    lacking = np.isnan(column.astype(np.float64, copy=False))
    return np.asarray(lacking if lacking.ndim == 1 else lacking.any(axis=tuple(range(1, lacking.ndim))))


def _read_rows(frame: pl.DataFrame, settings: DataSettings, uses: Sequence[ColumnUse], ledger: Ledger) -> _Rows:
    if settings.time is None:
        raise ValueError("read_series needs settings.time; tables of examples are read by read_examples")
    stacked = _stacked_columns(frame, settings, ledger)
    kinds: dict[str, str] = {use.name: use.kind for use in uses}
    if settings.split.column is not None:
        kinds.setdefault(settings.split.column, "text")
    wanted = [name for name in kinds if not (stacked and name == STACKED_VALUE)]
    require_columns(frame, [settings.time, *([settings.id] if settings.id else []), *wanted], ledger)
    values: dict[str, Column] = {name: _column(frame, name, kinds[name], settings, ledger) for name in wanted}
    times = time_column(frame, settings.time, settings, ledger)
    rows = np.arange(1, frame.height + 1, dtype=np.int64)
    if stacked:
        return _stack(frame, stacked, values, times, settings, ledger)
    names, codes = _series_of_rows(frame, settings, uses, ledger)
    if np.isnat(times).any():
        ledger.raise_if_errors()
    return _Rows(names, codes, times, rows, values)


def _column(frame: pl.DataFrame, name: str, kind: str, settings: DataSettings, ledger: Ledger) -> Column:
    return number_column(frame, name, settings, ledger) if kind == "number" else text_column(frame, name, ledger)


def _stacked_columns(frame: pl.DataFrame, settings: DataSettings, ledger: Ledger) -> list[str]:
    """The columns that `settings.stack` names, in the order of the table."""
    for pattern in settings.stack:
        if not any(fnmatchcase(name, pattern) for name in frame.columns):
            listed = ", ".join(frame.columns[:12])
            message = f"data.stack: no column matches '{pattern}'. The table has: {listed}."
            ledger.add("error", "missing-column", message, column=pattern)
    if settings.stack and settings.id:
        message = (
            f"data.id is '{settings.id}' and data.stack is set; expected one of them: "
            "series come from rows (id) or from columns (stack)."
        )
        ledger.add("error", "stack-and-id", message, column=settings.id)
    ledger.raise_if_errors()
    kept = {settings.time, settings.split.column}
    return [
        name
        for name in frame.columns
        if name not in kept and any(fnmatchcase(name, pattern) for pattern in settings.stack)
    ]


def _stack(
    frame: pl.DataFrame,
    stacked: list[str],
    values: dict[str, Column],
    times: Times,
    settings: DataSettings,
    ledger: Ledger,
) -> _Rows:
    """Lay the columns of a wide table end to end; the other columns are repeated for each."""
    series = [number_column(frame, name, settings, ledger) for name in stacked]
    if np.isnat(times).any():
        ledger.raise_if_errors()
    n = len(stacked)
    repeated: dict[str, Column] = {name: np.tile(column, n) for name, column in values.items()}
    codes = np.repeat(np.arange(n, dtype=np.int64), frame.height)
    rows = np.tile(np.arange(1, frame.height + 1, dtype=np.int64), n)
    return _Rows(stacked, codes, np.tile(times, n), rows, {**repeated, STACKED_VALUE: np.concatenate(series)})


def _series_of_rows(
    frame: pl.DataFrame, settings: DataSettings, uses: Sequence[ColumnUse], ledger: Ledger
) -> tuple[list[str], Integers]:
    """Names of the series in order of appearance, and the series of each row."""
    if settings.id is None:
        targets = [use.name for use in uses if use.role == "target"]
        name = targets[0] if len(targets) == 1 else "series"
        return [name], np.zeros(frame.height, dtype=np.int64)
    ids = pl.Series(text_column(frame, settings.id, ledger).tolist(), dtype=pl.String)
    absent = np.flatnonzero(ids.is_null().to_numpy())
    if absent.size:
        message = (
            f"column '{settings.id}', {ledger.at(int(absent[0]) + 1)}: the name of the series is missing; "
            f"expected one in every row ({absent.size} such rows). Fill it in or remove the rows."
        )
        row, count = int(absent[0]) + 1, int(absent.size)
        ledger.add("error", "missing-id", message, column=settings.id, row=row, count=count)
        ledger.raise_if_errors()
    names = ids.unique(maintain_order=True)
    codes = ids.replace_strict(names, np.arange(len(names)), return_dtype=pl.Int64)
    return names.to_list(), codes.to_numpy().astype(np.int64)


def _sort(rows: _Rows, ledger: Ledger) -> _Rows:
    by_series = rows.take(np.argsort(rows.codes, kind="stable"))
    falls = (by_series.codes[1:] == by_series.codes[:-1]) & (by_series.times[1:] < by_series.times[:-1])
    if falls.any():
        first = int(np.flatnonzero(falls)[0]) + 1
        message = (
            f"rows are not in order of time at {int(falls.sum())} places, first at "
            f"{ledger.at(int(by_series.rows[first]))} of series '{rows.names[by_series.codes[first]]}'; "
            "they were sorted."
        )
        row = int(by_series.rows[first])
        ledger.add("note", "unsorted", message, row=row, count=int(falls.sum()))
    return by_series.take(np.lexsort((by_series.times, by_series.codes)))


def _drop_repeated(rows: _Rows, ledger: Ledger) -> _Rows:
    """Drop rows that repeat the one before exactly; equal dates with other values are errors."""
    same_date = (rows.codes[1:] == rows.codes[:-1]) & (rows.times[1:] == rows.times[:-1])
    if not same_date.any():
        return rows
    equal = np.logical_and.reduce([same_date, *(_equal_to_previous(column) for column in rows.values.values())])
    _report_duplicate_dates(rows, np.flatnonzero(same_date & ~equal) + 1, ledger)
    repeated = np.flatnonzero(equal) + 1
    if repeated.size:
        message = (
            f"{repeated.size} rows repeat another row exactly and were dropped: "
            f"{ledger.at_rows(np.sort(rows.rows[repeated]))}."
        )
        row, count = int(rows.rows[repeated].min()), int(repeated.size)
        ledger.add("warning", "repeated-row", message, row=row, count=count)
    return rows.take(np.setdiff1d(np.arange(len(rows.rows)), repeated))


def _equal_to_previous(column: Column) -> Booleans:
    lacking = missing(column)
    return np.asarray((column[1:] == column[:-1]) | (lacking[1:] & lacking[:-1]))


def _report_duplicate_dates(rows: _Rows, later: Integers, ledger: Ledger) -> None:
    for code in np.unique(rows.codes[later]):
        mine = later[rows.codes[later] == code]
        first, count, name = int(mine[0]), len(mine), rows.names[code]
        date = _day(rows.times[first])
        message = (
            f"series '{name}' has {date} twice with different values, in {ledger.at(int(rows.rows[first - 1]))} "
            f"and {ledger.at(int(rows.rows[first]))} ({count} such dates). "
            f"{_advice_on_duplicates(rows.times[mine])}"
        )
        row = int(rows.rows[first])
        ledger.add("error", "duplicate-date", message, series=name, row=row, date=date, count=count)
    if later.size:
        ledger.raise_if_errors()


def _advice_on_duplicates(times: Times) -> str:
    if clock_changes(times).all():
        return "The clock was set back then: write the times in UTC or with their offset (+01:00)."
    return "Keep one of the rows, or name the column that tells the series apart in data.id."


def clock_changes(times: Times) -> Booleans:
    """Whether each time is in the small hours of a Sunday in March, April or September to November."""
    days = times.astype("datetime64[D]")
    month = times.astype("datetime64[M]").astype(np.int64) % 12 + 1
    sunday = (days.astype(np.int64) + 4) % 7 == 0
    clock = (times - days).astype(np.int64)
    return np.asarray(sunday & np.isin(month, [3, 4, 9, 10, 11]) & (clock > 0) & (clock < 4 * HOUR))


def _on_grid(rows: _Rows, frequency: str, uses: Sequence[ColumnUse], ledger: Ledger) -> Segments:
    """Put sorted rows on the grid of their series."""
    step = parse_frequency(frequency)
    starts = np.searchsorted(rows.codes, np.arange(len(rows.names)))
    counts = np.diff(np.append(starts, len(rows.codes)))
    origins = rows.times[starts]
    month_end = np.logical_and.reduceat(is_month_end(rows.times), starts)
    index, fits = grid_index(rows.times, origins[rows.codes], step, month_end[rows.codes])
    _report_off_grid(rows, fits, frequency, ledger)
    lengths = np.maximum.reduceat(index, starts) + 1
    _require_sane_size(rows, lengths, counts, frequency, ledger)
    offsets = _offsets(lengths)
    places = offsets[rows.codes] + index
    _report_gaps(rows, places, offsets, counts, frequency, ledger)
    static_names = {use.name for use in uses if use.role == "static"}
    owner = np.repeat(np.arange(len(lengths)), lengths)
    within = np.arange(offsets[-1]) - offsets[owner]
    return Segments(
        rows.names,
        offsets,
        {k: _scatter(v, places, int(offsets[-1])) for k, v in rows.values.items() if k not in static_names},
        {k: _one_per_series(k, rows, starts, ledger) for k in rows.values if k in static_names},
        shift_times(origins[owner], within, step, month_end[owner]),
        frequency,
    )


def _report_off_grid(rows: _Rows, fits: Booleans, frequency: str, ledger: Ledger) -> None:
    off = np.flatnonzero(~fits)
    if not off.size:
        return
    first = int(off[0])
    name, date, row = rows.names[rows.codes[first]], _day(rows.times[first]), int(rows.rows[first])
    message = (
        f"{off.size} dates are not on the grid of {frequency} that begins with the first date of their series: "
        f"{ledger.at_rows(rows.rows[off])}; the first is {date} of series '{name}'. "
        "Correct the dates, or set data.frequency."
    )
    ledger.add("error", "off-grid", message, series=name, row=row, date=date, count=int(off.size))
    ledger.raise_if_errors()


def _require_sane_size(rows: _Rows, lengths: Integers, counts: Integers, frequency: str, ledger: Ledger) -> None:
    if int(lengths.sum()) <= _LARGEST_GRID * (int(counts.sum()) + 1000):
        return
    worst = int(np.argmax(lengths))
    message = (
        f"a grid of {frequency} would have {int(lengths.sum())} steps for {int(counts.sum())} rows, most of them "
        f"in series '{rows.names[worst]}'. Look for a wrong date there, or set data.frequency to a longer step."
    )
    ledger.add("error", "huge-grid", message, series=rows.names[worst], count=int(lengths[worst]))
    ledger.raise_if_errors()


def _report_gaps(
    rows: _Rows, places: Integers, offsets: Integers, counts: Integers, frequency: str, ledger: Ledger
) -> None:
    holes = np.diff(offsets) - counts
    jumps = np.flatnonzero((np.diff(places) > 1) & (rows.codes[1:] == rows.codes[:-1]))
    series_of_jump = rows.codes[jumps]
    for code in np.flatnonzero(holes):
        mine = jumps[series_of_jump == code]
        before, after = rows.times[mine[0]], rows.times[mine[0] + 1]
        name, count = rows.names[code], int(holes[code])
        spring = ""
        if parse_frequency(frequency).count <= HOUR and clock_changes(after - np.timedelta64(1, "us"))[()]:
            spring = " The clock was set forward then: write the times in UTC or with their offset."
        message = (
            f"series '{name}' lacks {count} steps of {frequency} in {len(mine)} gaps, the first between "
            f"{_day(before)} and {_day(after)} (after {ledger.at(int(rows.rows[mine[0]]))}); "
            f"they are there as missing values.{spring}"
        )
        row = int(rows.rows[mine[0]])
        ledger.add("warning", "gap", message, series=name, row=row, date=_day(before), count=count)


def _one_per_series(name: str, rows: _Rows, starts: Integers, ledger: Ledger) -> Column:
    """The one value that each series has in column `name`; blank cells beside it are passed over."""
    column = rows.values[name]
    there = np.flatnonzero(~missing(column))
    result = _scatter(column[:0], np.zeros(0, dtype=np.int64), len(starts))
    codes, first = np.unique(rows.codes[there], return_index=True)
    result[codes] = column[there[first]]
    differs = there[column[there] != result[rows.codes[there]]]
    if differs.size:
        row, code = int(rows.rows[differs[0]]), int(rows.codes[differs[0]])
        message = (
            f"static column '{name}' changes within series '{rows.names[code]}': '{result[code]}' at first and "
            f"'{column[differs[0]]}' in {ledger.at(row)} ({differs.size} such rows). "
            "Give it the role past or known, or make it constant."
        )
        series = rows.names[code]
        ledger.add("error", "not-static", message, column=name, series=series, row=row, count=int(differs.size))
    return result


def _continued(segments: Segments, s: int, length: int) -> Times:
    assert segments.times is not None
    assert segments.frequency is not None
    times = segments.times[segments.offsets[s] : segments.offsets[s + 1]]
    month_end = bool(is_month_end(times).all())
    return offset_times(times[0], segments.frequency, length, month_end=month_end)


def _scatter(column: Column, places: Integers, size: int) -> Column:
    """A column of `size` missing values with `column` put at `places`."""
    shape = (size, *column.shape[1:])
    spread: Column = np.full(shape, None if column.dtype == object else np.nan, dtype=column.dtype)
    spread[places] = column
    return spread


def _offsets(lengths: Integers) -> Integers:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _places(old: Integers, new: Integers) -> Integers:
    """Where the steps of segments with offsets `old` lie once the offsets are `new`."""
    return np.asarray(np.arange(old[-1]) + np.repeat(new[:-1] - old[:-1], np.diff(old)))


def _day(time: np.datetime64) -> str:
    """A time as people write it: without a clock at midnight, without seconds that are zero."""
    text = str(time.astype("datetime64[us]")).replace("T", " ")
    for ending in (".000000", ":00", " 00:00"):
        text = text.removesuffix(ending)
    return text
