"""From a table with one example per row to segments: list cells become steps, single cells static values.

All lists of an example describe the same steps, so they must be equally long. In a column with the
role `static`, lists of numbers are vectors, which must be equally long in all rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from seqloom.data.columns import ColumnUse, number_column, require_columns, text_column
from seqloom.data.ledger import Ledger
from seqloom.data.nested import Cell, is_nested, nested_column
from seqloom.data.segments import Column, Segments
from seqloom.data.settings import DataSettings


def read_examples(frame: pl.DataFrame, settings: DataSettings, uses: Sequence[ColumnUse], ledger: Ledger) -> Segments:
    """Read a table of examples; the columns of `data.split` are read along as static texts.

    Problems are entered in `ledger`; bad cells become missing, bad lists empty. Call
    `ledger.raise_if_errors()` before using the result.

    Raises:
        PreflightError: a column is missing.
    """
    extra = [name for name in (settings.split.column, settings.split.group) if name is not None]
    require_columns(frame, [use.name for use in uses] + extra + ([settings.id] if settings.id else []), ledger)
    lists: dict[str, list[Cell]] = {}
    static: dict[str, Column] = {}
    for use in uses:
        column = frame[use.name]
        if (use.role in ("past", "known") or use.next_asked) and not is_nested(column):
            _report_no_lists(column, ledger)
        elif use.role in ("cell", "written") or not is_nested(column):
            static[use.name] = _scalar_column(frame, use, settings, ledger)
        elif use.role == "static":
            static[use.name] = _vectors(use, nested_column(column, use.kind, ledger), ledger)
        else:
            lists[use.name] = nested_column(column, use.kind, ledger)
            _report_absent(use.name, lists[use.name], column, ledger)
    for name in extra:
        static.setdefault(name, text_column(frame, name, ledger))
    lengths = _lengths(lists, frame.height, ledger)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    kinds = {use.name: use.kind for use in uses}
    steps = {name: _end_to_end(name, kinds[name], cells, lengths, ledger) for name, cells in lists.items()}
    return Segments(_ids(frame, settings, ledger), offsets, steps, static)


def _scalar_column(frame: pl.DataFrame, use: ColumnUse, settings: DataSettings, ledger: Ledger) -> Column:
    if use.kind == "number":
        return number_column(frame, use.name, settings, ledger)
    return text_column(frame, use.name, ledger)


def _ids(frame: pl.DataFrame, settings: DataSettings, ledger: Ledger) -> list[str]:
    """The examples' own names where a column holds them, else the numbers of their rows."""
    if settings.id is None:
        return [str(row) for row in range(1, frame.height + 1)]
    names = text_column(frame, settings.id, ledger)
    absent = [row for row, name in enumerate(names, 1) if name is None]
    if absent:
        message = (
            f"column '{settings.id}', {ledger.at(absent[0])}: the name of the example is missing; expected one in "
            f"every row ({len(absent)} such rows). Fill it in, or leave data.id out."
        )
        count = len(absent)
        ledger.add("error", "missing-id", message, column=settings.id, row=absent[0], count=count)
    return [str(row) if name is None else name for row, name in enumerate(names, 1)]


def _report_no_lists(column: pl.Series, ledger: Ledger) -> None:
    """Enter the cells of a column of sequences that are none."""
    odd = [row for row, cell in enumerate(column, 1) if not is_nested(pl.Series([cell]))]
    first = odd[0]
    message = (
        f"column '{column.name}', {ledger.at(first)}: {column[first - 1]!r} is no list; expected a list of steps in "
        f"every row, [] if the sequence is empty ({len(odd)} such rows). Where rows are steps, name their dates in "
        "data.time."
    )
    ledger.add("error", "no-list", message, column=column.name, row=first, count=len(odd))


def _report_absent(name: str, cells: list[Cell], column: pl.Series, ledger: Ledger) -> None:
    texts = column.dtype == pl.String
    blank = ((column.str.strip_chars() == "") | column.is_null() if texts else column.is_null()).fill_null(True)
    absent = [int(row) + 1 for row in blank.arg_true()]
    if absent:
        message = (
            f"column '{name}', {ledger.at(absent[0])}: the list is missing; expected a list in every row, [] if the "
            f"sequence is empty ({len(absent)} such rows)."
        )
        ledger.add("error", "missing-list", message, column=name, row=absent[0], count=len(absent))
    empty = [row for row, cell in enumerate(cells, 1) if cell is not None and len(cell) == 0]
    if empty:
        message = f"column '{name}' has {len(empty)} empty lists: {ledger.at_rows(empty)}."
        ledger.add("note", "empty-list", message, column=name, row=empty[0], count=len(empty))


def _lengths(lists: dict[str, list[Cell]], rows: int, ledger: Ledger) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Steps of each example; rows whose lists disagree are errors and get none."""
    lengths = np.zeros(rows, dtype=np.int64)
    uneven: list[int] = []
    for row in range(rows):
        sizes = {len(cell) for cells in lists.values() if (cell := cells[row]) is not None}
        if len(sizes) > 1:
            uneven.append(row)
        elif all(cells[row] is not None for cells in lists.values()):
            lengths[row] = next(iter(sizes), 0)
    if uneven:
        sizes_text = ", ".join(
            f"{name} {len(cell)}" for name, cells in lists.items() if (cell := cells[uneven[0]]) is not None
        )
        message = (
            f"{ledger.at(uneven[0] + 1)}: the lists differ in length: {sizes_text}; expected one length per row "
            f"({len(uneven)} such rows). Shorten or fill the shorter ones."
        )
        ledger.add("error", "uneven-lists", message, row=uneven[0] + 1, count=len(uneven))
    return lengths


def _end_to_end(
    name: str,
    kind: str,
    cells: list[Cell],
    lengths: np.ndarray[tuple[int], np.dtype[np.int64]],
    ledger: Ledger,
) -> Column:
    """The lists of a column one after the other, those of unusable rows left out."""
    used = [cell for cell, length in zip(cells, lengths, strict=True) if cell is not None and length > 0]
    if not used:
        return np.empty(0, dtype=object if kind == "text" else np.float64)
    widths = [cell.shape[1:] for cell in used]
    if len(set(widths)) == 1:
        return np.concatenate(used)
    odd = next(place for place, width in enumerate(widths) if width != widths[0])
    row = int(np.flatnonzero(lengths > 0)[odd]) + 1
    message = (
        f"column '{name}', {ledger.at(row)}: a step has {_width(widths[odd])}, in earlier rows {_width(widths[0])}; "
        "expected one size in the whole column."
    )
    ledger.add("error", "uneven-steps", message, column=name, row=row)
    return np.full(int(lengths.sum()), np.nan)


def _width(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} numbers" if shape else "a single number"


def _vectors(use: ColumnUse, cells: list[Cell], ledger: Ledger) -> Column:
    """(S, F) float64, NaN in rows without a vector."""
    sizes = [len(cell) for cell in cells if cell is not None]
    expected = max(set(sizes), key=sizes.count, default=0)
    vectors = np.full((len(cells), expected), np.nan)
    for row, cell in enumerate(cells, 1):
        if cell is None:
            continue
        if cell.shape != (expected,) or cell.dtype == object:
            message = (
                f"column '{use.name}', {ledger.at(row)}: the vector has shape {cell.shape}; expected {expected} "
                "numbers as in most rows. Make them equally long, or give the column another role than static."
            )
            ledger.add("error", "uneven-vectors", message, column=use.name, row=row)
            continue
        vectors[row - 1] = cell
    return vectors
