"""One column of a table as numbers or texts; what cannot be read is entered in the ledger.

Numbers become float64 with NaN where a cell is missing, texts an object array with None there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from seqloom.data.ledger import Ledger
from seqloom.data.settings import DataSettings
from seqloom.data.tables import nearest

Floats = npt.NDArray[np.float64]
Texts = npt.NDArray[np.object_]

MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "none", "-", "--", ".", "?")
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_COMMA_NUMBER = r"^[+-]?(([1-9]\d{0,2}([. '\x{a0}\x{202f}]\d{3})+|\d+)(,\d*)?|,\d+)([eE][+-]?\d+)?$"
_DECIMAL_COMMA = r"^[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+$"
_THOUSANDS = r"^[+-]?\d{1,3}(,\d{3})+(\.\d*)?$"


@dataclass(frozen=True)
class ColumnUse:
    """What a recipe does with a column.

    Attributes:
        name: the column.
        kind: `number` or `text`.
        role: `past` (known up to now), `known` (known ahead), `static` (one value per segment) or
            `target` (known up to now, to be forecast or predicted); `cell` (one value per segment, read as it
            stands by an input that makes a sequence of it); `written` (one text per segment, read as it stands, to
            be written or found by an output; no class).
        next_asked: whether the target of a step is the value of the step after it.
    """

    name: str
    kind: Literal["number", "text"]
    role: Literal["past", "known", "static", "target", "cell", "written"]
    next_asked: bool = False

    @property
    def asked_for(self) -> bool:
        """Whether it is the truth of some output."""
        return self.role in ("target", "written")


def require_columns(frame: pl.DataFrame, names: Iterable[str], ledger: Ledger) -> None:
    """Enter every name that is no column of the table, with the most similar one, and raise if any."""
    absent = [name for name in dict.fromkeys(names) if name not in frame.columns]
    for name in absent:
        listed = ", ".join(frame.columns[:12]) + (", ..." if frame.width > 12 else "")
        message = f"there is no column '{name}'.{nearest(name, frame.columns)} The table has: {listed}."
        ledger.add("error", "missing-column", message, column=name)
    if absent:
        ledger.raise_if_errors()


def number_column(frame: pl.DataFrame, name: str, settings: DataSettings, ledger: Ledger) -> Floats:
    """Column `name` as (rows,) float64; cells that are no finite numbers are errors in the ledger."""
    require_columns(frame, [name], ledger)
    column = frame[name]
    if column.dtype in (pl.String, pl.Categorical, pl.Enum):
        column = _numbers_of_text(column.cast(pl.String), settings, ledger)
    elif not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)):
        message = f"column '{name}' holds {column.dtype}; expected numbers. Give it another kind or another column."
        ledger.add("error", "bad-number", message, column=name, count=len(column))
        return np.full(len(column), np.nan)
    values = column.cast(pl.Float64).fill_null(np.nan).to_numpy().astype(np.float64)
    infinite = np.flatnonzero(np.isinf(values))
    if infinite.size:
        message = (
            f"column '{name}', {ledger.at(int(infinite[0]) + 1)}: the value is infinite; expected a finite number "
            f"({infinite.size} such cells). Leave the cell empty where the value is unknown."
        )
        ledger.add("error", "infinite", message, column=name, row=int(infinite[0]) + 1, count=infinite.size)
    return np.where(np.isinf(values), np.nan, values)


def text_column(frame: pl.DataFrame, name: str, ledger: Ledger) -> Texts:
    """Column `name` as (rows,) texts, None where the cell is blank; other cells are kept as written."""
    require_columns(frame, [name], ledger)
    column = frame[name]
    if column.dtype.is_nested() or column.dtype == pl.Binary:
        message = f"column '{name}' holds {column.dtype}; expected text. Give it another kind or another column."
        ledger.add("error", "bad-text", message, column=name, count=len(column))
        return np.full(len(column), None, dtype=object)
    if column.dtype.is_float():
        column = _whole_floats_as_integers(column)
    texts = column.cast(pl.String)
    blank = (texts.str.strip_chars() == "").fill_null(True)
    values = np.empty(len(texts), dtype=object)
    values[:] = texts.zip_with(~blank, pl.Series([None], dtype=pl.String)).to_list()
    return values


def _whole_floats_as_integers(column: pl.Series) -> pl.Series:
    """Labels 1, 2, 3 become 1.0, 2.0, 3.0 in frames where some are missing; undo that."""
    column = column.fill_nan(None)
    finite = column.drop_nulls()
    whole = bool((finite.is_finite() & (finite == finite.floor()) & (finite.abs() < 2**53)).all())
    return column.cast(pl.Int64) if whole else column


def _numbers_of_text(cells: pl.Series, settings: DataSettings, ledger: Ledger) -> pl.Series:
    cells = cells.str.strip_chars()
    missing = cells.str.to_lowercase().is_in(MISSING) | cells.is_null()
    cells = cells.zip_with(~missing, pl.Series([None], dtype=pl.String))
    lawful = cells.str.contains(_COMMA_NUMBER if settings.decimal_comma else _NUMBER)
    bad = (~lawful).fill_null(False)
    if bad.any():
        _report_bad_cells(cells, bad, settings, ledger)
    good = cells.zip_with(~bad, pl.Series([None], dtype=pl.String))
    if settings.decimal_comma:
        good = good.str.replace_all(r"[. '\x{a0}\x{202f}]", "").str.replace(",", ".", literal=True)
    return good.str.strip_chars_start("+").cast(pl.Float64)


def _report_bad_cells(cells: pl.Series, bad: pl.Series, settings: DataSettings, ledger: Ledger) -> None:
    row = int(bad.arg_true()[0]) + 1
    value, count = cells[row - 1], int(bad.sum())
    message = (
        f"column '{cells.name}', {ledger.at(row)}: '{value}' is not a number ({count} such "
        f"cell{'s' if count > 1 else ''}). {_advice(value, settings)}"
    )
    ledger.add("error", "bad-number", message, column=cells.name, row=row, count=count)


def _advice(value: str, settings: DataSettings) -> str:
    cell = pl.Series([value])
    if settings.decimal_comma and cell.str.contains(_NUMBER)[0]:
        return "Expected a decimal comma, as in 1.234,5; set data.decimal_comma: false if numbers have a point."
    if not settings.decimal_comma and cell.str.contains(_THOUSANDS)[0]:
        return (
            "Write it without thousands separators, as in 1234.5; "
            "if the comma is the decimal sign, set data.decimal_comma: true."
        )
    if not settings.decimal_comma and cell.str.contains(_DECIMAL_COMMA)[0]:
        return "If the comma is the decimal sign, set data.decimal_comma: true."
    return "Write a number, leave the cell empty, or give the column a kind that holds text."
