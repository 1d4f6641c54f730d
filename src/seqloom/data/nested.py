"""Cells that hold a whole sequence: a list of numbers, of texts, or of equally long lists of numbers.

Parquet and JSON Lines hold such lists as they are; a CSV cell holds one written as JSON.
"""

from __future__ import annotations

import json

import numpy as np
import polars as pl

from seqloom.data.columns import Floats, Texts
from seqloom.data.ledger import Ledger

Cell = Floats | Texts | None


def is_nested(column: pl.Series) -> bool:
    """Whether the cells are lists, or texts that are all written as JSON lists."""
    if isinstance(column.dtype, pl.List | pl.Array):
        return True
    if column.dtype != pl.String:
        return False
    cells = column.drop_nulls().str.strip_chars()
    cells = cells.filter(cells != "")
    return len(cells) > 0 and bool((cells.str.starts_with("[") & cells.str.ends_with("]")).all())


def nested_column(column: pl.Series, kind: str, ledger: Ledger) -> list[Cell]:
    """Each cell as (T,) or (T, F) float64 or as (T,) texts, by `kind` (`number` or `text`).

    Cells that cannot be read, and numbers that are not finite, are errors in the ledger and None here.
    A missing number within a list is NaN, a missing text None.
    """
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    flat = _end_to_end(column, kind)
    if flat is not None:
        return _cut(flat, column)
    cells: list[Cell] = []
    for row, value in enumerate(_lists(column, ledger), 1):
        if value is None:
            cells.append(None)
            continue
        try:
            cells.append(_numbers(value) if kind == "number" else _texts(value))
        except (ValueError, TypeError) as error:
            message = f"column '{column.name}', {ledger.at(row)}: {error}. Expected a list of {_EXPECTED[kind]}."
            ledger.add("error", "bad-list", message, column=column.name, row=row)
            cells.append(None)
    return cells


def _end_to_end(column: pl.Series, kind: str) -> Floats | Texts | None:
    """All cells one after the other, without a Python object for each step; None where a cell needs a closer look."""
    if not isinstance(column.dtype, pl.List):
        return None
    inner = column.dtype.inner
    lists = column.filter(column.list.len() > 0)
    if kind == "text" and inner == pl.String:
        return _shared(lists.explode())
    if kind == "number" and isinstance(inner, pl.DataType) and (inner.is_integer() or inner.is_float()):
        numbers: Floats = lists.explode().cast(pl.Float64).to_numpy()
        return None if np.isinf(numbers).any() else numbers
    return None


def _shared(texts: pl.Series) -> Texts:
    """Texts of which equal ones are one object, so that a million labels are few; None where one is empty."""
    texts = texts.set(texts == "", None)
    words = texts.drop_nulls().unique(maintain_order=True)
    codes = texts.cast(pl.Enum(words)).to_physical().cast(pl.Int64).fill_null(len(words))
    found: Texts = np.array([*words.to_list(), None], dtype=object)[codes.to_numpy()]
    return found


def _cut(flat: Floats | Texts, column: pl.Series) -> list[Cell]:
    """The cells of a column of lists, None where the list is missing."""
    lengths = column.list.len()
    ends = lengths.fill_null(0).cast(pl.Int64).cum_sum().to_list()
    return [
        None if length is None else flat[end - length : end]
        for length, end in zip(lengths.to_list(), ends, strict=True)
    ]


_EXPECTED = {"number": "finite numbers, or of equally long lists of them", "text": "texts"}


def _lists(column: pl.Series, ledger: Ledger) -> list[list[object] | None]:
    if isinstance(column.dtype, pl.List):
        return column.to_list()
    return [_parse(text, column.name, row, ledger) for row, text in enumerate(column.to_list(), 1)]


def _parse(text: str | None, name: str, row: int, ledger: Ledger) -> list[object] | None:
    if text is None or not text.strip():
        return None
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        message = f"column '{name}', {ledger.at(row)}: '{text[:40]}' is no JSON list: {error}. Write [1, 2, 3]."
        ledger.add("error", "bad-list", message, column=name, row=row)
        return None
    if isinstance(value, list):
        return value
    message = f"column '{name}', {ledger.at(row)}: '{text[:40]}' is no list; expected one such as [1, 2, 3]."
    ledger.add("error", "bad-list", message, column=name, row=row)
    return None


def _numbers(value: list[object]) -> Floats:
    if any(isinstance(item, list) for item in value):
        widths = {len(item) if isinstance(item, list) else -1 for item in value}
        if len(widths) > 1:
            sizes = ", ".join("a number" if width < 0 else f"a list of {width}" for width in sorted(widths))
            raise ValueError(f"the steps differ in size: {sizes}")
    if any(isinstance(item, str | bool) for item in value):
        odd = next(item for item in value if isinstance(item, str | bool))
        raise ValueError(f"'{odd}' is not a number")
    numbers = np.array(value, dtype=np.float64)
    if np.isinf(numbers).any():
        raise ValueError(f"item {int(np.argwhere(np.isinf(numbers))[0][0]) + 1} is infinite")
    return numbers


def _texts(value: list[object]) -> Texts:
    texts = np.empty(len(value), dtype=object)
    for place, item in enumerate(value):
        if isinstance(item, list | dict):
            raise ValueError(f"item {place + 1} is a {type(item).__name__}")
        texts[place] = None if item is None or item == "" else str(item)
    return texts
