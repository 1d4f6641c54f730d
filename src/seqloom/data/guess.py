"""Guessing what the columns of an undescribed table are, and saying every guess in a sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl

from seqloom.data.calendar_grid import Times, infer_frequency, season_length
from seqloom.data.columns import number_column, require_columns
from seqloom.data.dates import time_column
from seqloom.data.ledger import Ledger
from seqloom.data.nested import is_nested, nested_column
from seqloom.data.settings import DataSettings
from seqloom.errors import DataError

Kind = Literal["number", "category", "text", "series", "labels", "vector"]

_TIME_NAMES = ("ds", "date", "datetime", "timestamp", "time", "day", "month", "week", "year")
_TARGET_NAMES = ("y", "value", "target", "sales", "demand", "count", "load", "consumption", "price", "close")
_ID_NAMES = ("unique_id", "id", "series", "series_id", "item_id", "item", "store", "symbol", "ticker")
_SAMPLE = 10_000
_MOST_CATEGORIES = 100
_WORDS = {
    "1h": "hourly", "1d": "daily", "1bd": "business days", "1w": "weekly", "1mo": "monthly",
    "3mo": "quarterly", "1y": "yearly",
}  # fmt: skip


@dataclass(frozen=True)
class Guess:
    """What the columns of a table of series seem to be.

    Attributes:
        time: column of dates.
        id: column naming the series, if there is more than one.
        targets: number columns to forecast.
        numbers: other number columns.
        categories: other text columns.
        frequency: step of the dates, None if no series has two dates.
        season_length: steps of the usual season.
        decimal_comma: whether numbers are written 1.234,5.
        assumptions: the guesses as sentences for the user.
    """

    time: str
    id: str | None
    targets: tuple[str, ...]
    numbers: tuple[str, ...]
    categories: tuple[str, ...]
    frequency: str | None
    season_length: int
    decimal_comma: bool = False
    assumptions: list[str] = field(default_factory=list)


def guess_series(
    frame: pl.DataFrame, *, time: str | None = None, target: Sequence[str] = (), id: str | None = None
) -> Guess:
    """Guess the columns of a table of series; what the caller names is taken as given.

    Raises:
        DataError: no column of dates or of numbers is found, or a named one does not exist.
    """
    named = [name for name in (time, id, *target) if name is not None]
    require_columns(frame, named, Ledger())
    said: list[str] = []
    time = time or _find_time(frame)
    numbers, decimal_comma = _number_columns(frame, [name for name in frame.columns if name not in (time, id)])
    if decimal_comma:
        said.append("numbers: written with a decimal comma")
    times = _read_times(frame, time)
    id = id or _find_id(frame, time, times, numbers, target)
    others = [name for name in numbers if name != id]
    targets = tuple(target) or (_find_target(others, said),)
    frequency = _frequency(frame, times, id)
    said = [_say_time(time, times, frequency), *_say_id(frame, id), *said]
    said += [f"target: {', '.join(targets)}"] if target else []
    season = season_length(frequency) if frequency else 1
    said.append(f"season: {season} steps" if season > 1 else "season: none")
    taken = {time, id, *targets}
    categories = [name for name in frame.columns if name not in taken and name not in numbers]
    rest = [name for name in others if name not in taken]
    if rest or categories:
        said.append(f"read as past covariates: {', '.join([*rest, *categories])}")
    return Guess(time, id, targets, tuple(rest), tuple(categories), frequency, season, decimal_comma, said)


def guess_kinds(frame: pl.DataFrame) -> dict[str, Kind]:
    """The kind of each column of a table of examples.

    `vector` is a list of numbers equally long in all rows, `series` one that is not (or holds lists),
    `labels` a list of texts; `category` is a text column with few distinct values, `text` one with many.
    """
    return {name: _kind(frame[name]) for name in frame.columns}


def _find_time(frame: pl.DataFrame) -> str:
    typed = [name for name in frame.columns if frame[name].dtype.is_temporal() and frame[name].dtype != pl.Time]
    readable = typed or [name for name in frame.columns if _reads_as_dates(frame, name)]
    if not readable:
        raise DataError(
            f"no column of dates was found among {', '.join(frame.columns[:12])}; expected one such as 2024-01-31 in "
            "every row. Name it (--time COLUMN)."
        )
    return min(readable, key=lambda name: _rank(name, _TIME_NAMES))


def _reads_as_dates(frame: pl.DataFrame, name: str) -> bool:
    """Whether the first cells are all dates; plain numbers count only where the name says so."""
    column = frame[name]
    numeric = column.dtype.is_numeric() or _all_numbers(column)
    if numeric and _rank(name, _TIME_NAMES) == len(_TIME_NAMES):
        return False
    if not (numeric or column.dtype == pl.String):
        return False
    ledger = Ledger()
    time_column(frame.select(name).head(_SAMPLE), name, DataSettings(), ledger)
    return all(problem.code == "ambiguous-date" for problem in ledger.errors)


def _all_numbers(column: pl.Series) -> bool:
    ledger = Ledger()
    values = number_column(column.head(_SAMPLE).to_frame(), column.name, DataSettings(), ledger)
    return not ledger.errors and bool(np.isfinite(values).any())


def _number_columns(frame: pl.DataFrame, names: list[str]) -> tuple[list[str], bool]:
    """The columns of numbers, and whether reading them needs the decimal comma."""
    usable = [name for name in names if not frame[name].dtype.is_nested() and not frame[name].dtype.is_temporal()]
    comma = any(_looks_like_decimal_comma(frame[name]) for name in usable)
    settings = DataSettings(decimal_comma=comma)
    found = []
    for name in usable:
        ledger = Ledger()
        values = number_column(frame.select(name).head(_SAMPLE), name, settings, ledger)
        # One bad cell among a hundred numbers is a mistake to report later, not a text column.
        bad = sum(problem.count for problem in ledger.errors)
        if np.isfinite(values).any() and bad <= 0.01 * np.isfinite(values).sum():
            found.append(name)
    return found, comma


def _looks_like_decimal_comma(column: pl.Series) -> bool:
    if column.dtype != pl.String:
        return False
    cells = column.head(_SAMPLE).drop_nulls().str.strip_chars()
    cells = cells.filter(cells != "")
    written = cells.str.contains(r"^[+-]?[\d.]*,\d+$")
    # 1,234 alone may be a thousands separator; 12,5 is not.
    decided = cells.str.contains(r"^[+-]?([\d.]*,(\d{1,2}|\d{4,})|0,\d+)$")
    whole = cells.str.contains(r"^[+-]?\d{1,3}(\.\d{3})*$|^[+-]?\d+$")
    return bool(decided.any()) and bool((written | whole).all())


def _find_id(frame: pl.DataFrame, time: str, times: Times, numbers: list[str], target: Sequence[str]) -> str | None:
    """The column that tells repeated dates apart, if dates repeat; a series has two rows or more, mostly."""
    if len(np.unique(times)) == len(times):
        return None
    dated = frame.with_columns(pl.Series("__time", times)) if "__time" not in frame.columns else frame
    texts = [name for name in frame.columns if name != time and name not in numbers]
    named = [name for name in numbers if _rank(name, _ID_NAMES) < len(_ID_NAMES) and name not in target]
    fitting = [
        name for name in texts + named
        if not frame[name].dtype.is_nested()
        and 2 * frame[name].n_unique() <= frame.height
        and not dated.select("__time", name).is_duplicated().any()
    ]  # fmt: skip
    if not fitting:
        raise DataError(
            f"dates repeat in column '{time}' and no column tells the rows apart; expected one that names the series. "
            "Name it (--id COLUMN), or remove the repeated rows."
        )
    return min(fitting, key=lambda name: (_rank(name, _ID_NAMES), frame[name].n_unique()))


def _find_target(numbers: list[str], said: list[str]) -> str:
    if not numbers:
        raise DataError("no column of numbers was found to forecast; name it (--target COLUMN).")
    if len(numbers) == 1:
        said.append(f"target: {numbers[0]} (the only column of numbers)")
        return numbers[0]
    named = min(numbers, key=lambda name: _rank(name, _TARGET_NAMES))
    if _rank(named, _TARGET_NAMES) < len(_TARGET_NAMES):
        said.append(f"target: {named} (by its name; others can be named with --target)")
        return named
    said.append(f"target: {numbers[-1]} (the last column of numbers; others can be named with --target)")
    return numbers[-1]


def _rank(name: str, names: Sequence[str]) -> int:
    """Place of `name` in a list of usual names, its length if it is not one of them."""
    plain = re.sub(r"[^a-z]+", "_", name.lower()).strip("_")
    return names.index(plain) if plain in names else len(names)


def _read_times(frame: pl.DataFrame, time: str) -> Times:
    ledger = Ledger()
    times = time_column(frame, time, DataSettings(), ledger)
    ledger.raise_if_errors()
    return times


def _frequency(frame: pl.DataFrame, times: Times, id: str | None) -> str | None:
    codes = np.zeros(len(times), dtype=np.int64) if id is None else _codes(frame[id])
    order = np.lexsort((times, codes))
    return infer_frequency(times[order], codes[order])


def _codes(column: pl.Series) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return column.cast(pl.String).fill_null("").rank("dense").to_numpy().astype(np.int64)


def _say_time(time: str, times: Times, frequency: str | None) -> str:
    step = "step unknown" if frequency is None else _WORDS.get(frequency, f"every {frequency}")
    return f"time column: {time} ({len(np.unique(times)):,} dates, {step})"


def _say_id(frame: pl.DataFrame, id: str | None) -> list[str]:
    return ["series: one"] if id is None else [f"series: {frame[id].n_unique():,}, named by column {id}"]


def _kind(column: pl.Series) -> Kind:
    if is_nested(column):
        return _list_kind(column)
    if column.dtype.is_numeric() or (column.dtype == pl.String and _all_numbers(column)):
        return "number"
    distinct, present = column.drop_nulls().n_unique(), max(len(column.drop_nulls()), 1)
    return "category" if distinct <= min(_MOST_CATEGORIES, max(present // 2, 2)) else "text"


def _list_kind(column: pl.Series) -> Kind:
    ledger = Ledger()
    cells = [cell for cell in nested_column(column.head(_SAMPLE), "number", ledger) if cell is not None]
    if ledger.errors:
        return "labels"
    if all(cell.ndim == 1 for cell in cells) and len({len(cell) for cell in cells}) == 1 and len(cells) > 1:
        return "vector"
    return "series"
