"""One column of a table as dates: the way they are written is found, and doubt is an error.

Rules: all cells of a column are written in one way. `01/02/2020` is read as day-month or month-day only
if some other cell decides it. Times with an offset or a zone are converted to UTC, so that a change of
the clock neither repeats nor skips an hour; if all of them are midnights where they were
written, they mean days, and the local dates are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from seqloom.data.calendar_grid import DAY, HOUR, MINUTE, SECOND, Booleans, Integers, Times
from seqloom.data.columns import MISSING, require_columns
from seqloom.data.ledger import Ledger
from seqloom.data.settings import DataSettings

_CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
_ZONE = r"(?P<zone>Z|UTC|[+-]\d{2}(?::?\d{2})?)"
_CELL = rf"^(?P<date>.*?\S)(?P<clock>(?:T|\s+){_CLOCK}\s?(?P<half>[AaPp][Mm])?\s?{_ZONE}?)?$"
_EPOCHS = {"epoch seconds": SECOND, "epoch milliseconds": 1000, "epoch microseconds": 1}
_SET_FORMAT = "set data.time_format to a strptime pattern such as '%d/%m/%Y'"


@dataclass(frozen=True)
class _Style:
    """A way to write a date: its name, how to recognise it and how to read it (None: needs deciding)."""

    name: str
    pattern: str
    strptime: str | None = None


_STYLES = (
    _Style("YYYY-MM-DD", r"^\d{4}-\d{1,2}-\d{1,2}$", "%Y-%m-%d"),
    _Style("YYYY/MM/DD", r"^\d{4}/\d{1,2}/\d{1,2}$", "%Y/%m/%d"),
    _Style("YYYY.MM.DD", r"^\d{4}\.\d{1,2}\.\d{1,2}$", "%Y.%m.%d"),
    _Style("YYYYMMDD", r"^(1[6-9]|2[01])\d{2}(0[1-9]|1[0-2])([0-2]\d|3[01])$", "%Y%m%d"),
    _Style("YYYY-MM", r"^\d{4}-\d{1,2}$", "%Y-%m-%d"),
    _Style("YYYY/MM", r"^\d{4}/\d{1,2}$", "%Y/%m-%d"),
    _Style("YYYY", r"^(1[5-9]|2[01])\d{2}$", "%Y-%m-%d"),
    _Style("YYYYQn", r"^\d{4}-?[Qq][1-4]$", "%Y-%m-%d"),
    _Style("DD.MM.YYYY", r"^\d{1,2}\.\d{1,2}\.\d{4}$", "%d.%m.%Y"),
    _Style("n/n/YYYY", r"^\d{1,2}/\d{1,2}/\d{4}$"),
    _Style("n-n-YYYY", r"^\d{1,2}-\d{1,2}-\d{4}$"),
    _Style("D Mon YYYY", r"^\d{1,2} [A-Za-z]{3} \d{4}$", "%d %b %Y"),
    _Style("D Mon YY", r"^\d{1,2} [A-Za-z]{3} \d{2}$", "%d %b %y"),
    _Style("Mon D YYYY", r"^[A-Za-z]{3} \d{1,2} \d{4}$", "%b %d %Y"),
    _Style("Mon YYYY", r"^[A-Za-z]{3} \d{4}$", "%b %Y"),
    _Style("epoch seconds", r"^-?\d{9,10}$", "epoch"),
    _Style("epoch milliseconds", r"^-?\d{12,13}$", "epoch"),
    _Style("epoch microseconds", r"^-?\d{15,16}$", "epoch"),
)


def time_column(frame: pl.DataFrame, name: str, settings: DataSettings, ledger: Ledger) -> Times:
    """Column `name` as (rows,) datetime64[us]; cells that are no dates are NaT and errors in the ledger."""
    require_columns(frame, [name], ledger)
    column = frame[name]
    if column.dtype == pl.String and not column.has_nulls():
        # Long tables repeat each date for every series: read the distinct ones, and all only to name bad rows.
        distinct, trial = column.unique(maintain_order=True), Ledger()
        times = _read(distinct, settings, trial)
        if not trial.errors:
            ledger.problems.extend(trial.problems)
            places = column.replace_strict(distinct, np.arange(len(distinct)), return_dtype=pl.Int64)
            return np.asarray(times[places.to_numpy()])
    return _read(column, settings, ledger)


def _read(column: pl.Series, settings: DataSettings, ledger: Ledger) -> Times:
    name = column.name
    if isinstance(column.dtype, pl.Datetime) or column.dtype == pl.Date:
        local, offsets = _typed(column)
    elif column.dtype.is_nested() or column.dtype in (pl.Boolean, pl.Binary, pl.Time, pl.Duration):
        message = f"column '{name}' holds {column.dtype}; expected dates. Set data.time to the column of dates."
        ledger.add("error", "bad-date", message, column=name, count=len(column))
        return np.full(len(column), np.datetime64("NaT"), dtype="datetime64[us]")
    else:
        local, offsets = _written(_as_text(column), settings, ledger)
    absent = column.cast(pl.String).str.strip_chars().str.to_lowercase().is_in(MISSING) | column.is_null()
    _report(ledger, "missing-date", name, absent.to_numpy(), "the date is missing; expected one in every row")
    return _settle_offsets(local, offsets, name, ledger)


def _typed(column: pl.Series) -> tuple[Times, Integers | None]:
    if not isinstance(column.dtype, pl.Datetime) or column.dtype.time_zone is None:
        return column.cast(pl.Datetime("us")).to_numpy().astype("datetime64[us]"), None
    local = column.dt.replace_time_zone(None).cast(pl.Datetime("us")).to_numpy().astype("datetime64[us]")
    in_utc = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None).cast(pl.Datetime("us")).to_numpy()
    return local, (local - in_utc.astype("datetime64[us]")).astype(np.int64)


def _as_text(column: pl.Series) -> pl.Series:
    if column.dtype.is_float():
        column = column.fill_nan(None).cast(pl.Int64)
    text = column.cast(pl.String).str.strip_chars()
    return text.zip_with(~text.str.to_lowercase().is_in(MISSING), pl.Series([None], dtype=pl.String))


def _written(cells: pl.Series, settings: DataSettings, ledger: Ledger) -> tuple[Times, Integers | None]:
    """Local times as written and their offsets from UTC in microseconds, None where none is written."""
    if settings.time_format is not None:
        return _with_format(cells, settings.time_format, ledger), None
    parts = cells.str.extract_groups(_CELL).struct.unnest()
    styles = _styles(_months_short(parts["date"]))
    times = _one_style(cells, parts, styles, ledger)
    if times is None:
        return np.full(len(cells), np.datetime64("NaT"), dtype="datetime64[us]"), None
    zoned = parts["zone"].is_not_null()
    if zoned.any() and not zoned.all() and (cells.is_not_null() & ~zoned).any():
        with_zone, without = int(zoned.arg_true()[0]), int((cells.is_not_null() & ~zoned).arg_true()[0])
        message = _mixed(cells, with_zone, without, "with and without an offset from UTC", ledger)
        ledger.add("error", "mixed-zones", message, column=cells.name, row=max(with_zone, without) + 1)
    return times + _clock(parts), _offsets(parts["zone"]) if zoned.any() else None


def _with_format(cells: pl.Series, pattern: str, ledger: Ledger) -> Times:
    try:
        parsed = cells.str.to_datetime(pattern, strict=False, time_unit="us")
    except (pl.exceptions.PolarsError, ValueError) as error:
        message = (
            f"data.time_format is '{pattern}', which cannot be read: {error}. Expected a pattern such as %d/%m/%Y."
        )
        ledger.add("error", "bad-date", message, column=cells.name)
        return np.full(len(cells), np.datetime64("NaT"), dtype="datetime64[us]")
    bad = (parsed.is_null() & cells.is_not_null()).to_numpy()
    _report(
        ledger,
        "bad-date",
        cells.name,
        bad,
        f"'{{}}' is not written as data.time_format '{pattern}' says",
        cells,
    )
    # A pattern with %z yields times in UTC.
    return _typed(parsed)[0]


def _months_short(dates: pl.Series) -> pl.Series:
    """`March 1, 2020` and `1-Mar-2020` as `Mar 1 2020` and `1 Mar 2020`: fewer ways to write a date."""
    short = dates.str.replace(r"([A-Za-z]{3})[A-Za-z]*\.?", "$1")
    named = short.str.contains(r"[A-Za-z]{3}").fill_null(False)
    return short.str.replace_all(r"[ ,/-]+", " ").zip_with(named, short)


def _styles(dates: pl.Series) -> pl.DataFrame:
    """Columns `date` and `style`, the index of the style each cell is written in (None: unknown)."""
    style = pl.coalesce(
        pl.when(pl.col("date").str.contains(style.pattern)).then(pl.lit(number)) for number, style in enumerate(_STYLES)
    )
    return dates.rename("date").to_frame().select("date", style=style)


def _one_style(cells: pl.Series, parts: pl.DataFrame, styles: pl.DataFrame, ledger: Ledger) -> Times | None:
    """The days (or epoch times) if all cells are written in one known way."""
    unknown = (styles["style"].is_null() & cells.is_not_null()).to_numpy()
    if unknown.any():
        advice = f"'{{}}' is not a date; expected one such as 2024-01-31; write it so or {_SET_FORMAT}"
        _report(ledger, "bad-date", cells.name, unknown, advice, cells)
    kinds = styles["style"].cast(pl.Int64) * 2 + parts["clock"].is_not_null().cast(pl.Int64)
    distinct = kinds.drop_nulls().unique(maintain_order=True).to_list()
    if len(distinct) > 1:
        first, second = (int((kinds == kind).arg_max() or 0) for kind in distinct[:2])
        message = _mixed(cells, first, second, f"in {len(distinct)} ways", ledger)
        ledger.add("error", "mixed-dates", message, column=cells.name, row=second + 1, count=len(distinct))
    if len(distinct) != 1 or unknown.any():
        return None
    style = _STYLES[distinct[0] // 2]
    pattern = style.strptime or _day_or_month_first(cells, styles["date"], ledger)
    return None if pattern is None else _read_days(cells, styles["date"], style, pattern, ledger)


def _mixed(cells: pl.Series, first: int, second: int, how: str, ledger: Ledger) -> str:
    return (
        f"column '{cells.name}' writes dates {how}: '{cells[first]}' in {ledger.at(first + 1)} and "
        f"'{cells[second]}' in {ledger.at(second + 1)}; expected one way in the whole column. Rewrite one of them."
    )


def _read_days(cells: pl.Series, dates: pl.Series, style: _Style, pattern: str, ledger: Ledger) -> Times:
    if pattern == "epoch":
        ledger.add("note", "epoch", f"column '{cells.name}' holds {style.name}; read as UTC.", column=cells.name)
        return _typed((dates.cast(pl.Int64) * _EPOCHS[style.name]).cast(pl.Datetime("us")))[0]
    if style.name == "YYYY":
        dates = dates + "-01-01"
    if style.name in ("YYYY-MM", "YYYY/MM"):
        dates = dates + "-01"
    if style.name == "YYYYQn":
        dates = dates.str.slice(0, 4) + "-" + (dates.str.slice(-1).cast(pl.Int64) * 3 - 2).cast(pl.String) + "-01"
    days = dates.str.to_date(pattern, strict=False)
    bad = (days.is_null() & cells.is_not_null()).to_numpy()
    _report(
        ledger,
        "bad-date",
        cells.name,
        bad,
        "'{}' is no day of the calendar; expected an existing date",
        cells,
    )
    return _typed(days)[0]


def _day_or_month_first(cells: pl.Series, dates: pl.Series, ledger: Ledger) -> str | None:
    """The pattern of dates such as 13/02/2020, if the column decides it."""
    numbers = dates.str.extract_groups(r"^(\d+)([/-])(\d+)").struct.unnest()
    first, second = numbers["1"].cast(pl.Int64), numbers["3"].cast(pl.Int64)
    mark = numbers["2"].drop_nulls()[0]
    day_first, month_first = (first > 12).fill_null(False), (second > 12).fill_null(False)
    if day_first.any() and month_first.any():
        rows = int(day_first.arg_true()[0]), int(month_first.arg_true()[0])
        message = _mixed(cells, rows[0], rows[1], "with the day first and with the month first", ledger)
        ledger.add("error", "mixed-dates", message, column=cells.name, row=max(rows) + 1)
        return None
    if not day_first.any() and not month_first.any() and (first != second).any():
        row = int((first != second).arg_true()[0])
        message = (
            f"column '{cells.name}', {ledger.at(row + 1)}: '{cells[row]}' may be day-month or month-day, and no cell "
            f"decides it. Set data.time_format: '%d{mark}%m{mark}%Y' or '%m{mark}%d{mark}%Y'."
        )
        ledger.add("error", "ambiguous-date", message, column=cells.name, row=row + 1)
        return None
    return f"%m{mark}%d{mark}%Y" if month_first.any() else f"%d{mark}%m{mark}%Y"


def _clock(parts: pl.DataFrame) -> Integers:
    """Time of day in microseconds, 0 where none is written."""

    def number(group: str) -> pl.Series:
        return parts[group].cast(pl.Int64).fill_null(0)

    afternoon = (parts["half"].str.to_lowercase() == "pm").fill_null(False)
    hour = number("hour")
    hour = (hour % 12 + 12 * afternoon.cast(pl.Int64)).zip_with(parts["half"].is_not_null(), hour)
    fraction = parts["fraction"].str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64).fill_null(0)
    total = hour * HOUR + number("minute") * MINUTE + number("second") * SECOND + fraction
    return np.asarray(total.to_numpy(), dtype=np.int64)


def _offsets(zones: pl.Series) -> Integers:
    """Offsets such as +01:00 or -0530 in microseconds; Z, UTC and missing ones are 0."""
    groups = zones.str.extract_groups(r"^([+-])(\d{2}):?(\d{2})?$").struct.unnest()
    size = groups["2"].cast(pl.Int64).fill_null(0) * HOUR + groups["3"].cast(pl.Int64).fill_null(0) * MINUTE
    sign = 1 - 2 * (groups["1"] == "-").fill_null(False).cast(pl.Int64)
    return np.asarray((size * sign).to_numpy(), dtype=np.int64)


def _settle_offsets(local: Times, offsets: Integers | None, name: str, ledger: Ledger) -> Times:
    if offsets is None:
        return local
    known = ~np.isnat(local)
    distinct = np.unique(offsets[known])
    shifts = (
        ""
        if len(distinct) < 2
        else f" (offsets from UTC change between {_hours(distinct[0])} and {_hours(distinct[-1])})"
    )
    if np.all(local[known].astype(np.int64) % DAY == 0):
        message = f"column '{name}' has midnights with an offset from UTC{shifts}; their local dates are used."
        ledger.add("note", "time-zone", message, column=name, count=len(distinct))
        return local
    message = f"column '{name}' has times with an offset from UTC{shifts}; they are converted to UTC."
    ledger.add("note", "time-zone", message, column=name, count=len(distinct))
    return np.asarray(local - offsets.astype("timedelta64[us]"))


def _hours(offset: int) -> str:
    minutes = abs(int(offset)) // MINUTE
    return f"{'-' if offset < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}"


def _report(ledger: Ledger, code: str, name: str, bad: Booleans, what: str, cells: pl.Series | None = None) -> None:
    """Enter the first of the `bad` rows and how many there are; `{}` in `what` stands for the cell."""
    rows = np.flatnonzero(bad)
    if not rows.size:
        return
    row = int(rows[0])
    said = what.format(cells[row]) if cells is not None else what
    message = f"column '{name}', {ledger.at(row + 1)}: {said} ({rows.size} such cells)."
    ledger.add("error", code, message, column=name, row=row + 1, count=int(rows.size))
