"""Columns as numbers and texts, with bad cells named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqloom.data.columns import number_column, require_columns, text_column
from seqloom.data.ledger import Ledger
from seqloom.data.settings import DataSettings
from seqloom.data.tables import read_table
from seqloom.errors import PreflightError

PLAIN = DataSettings()
COMMA = DataSettings(decimal_comma=True)


def numbers(cells: list[object], settings: DataSettings = PLAIN) -> tuple[list[float], list[str]]:
    ledger = Ledger()
    values = number_column(pl.DataFrame({"x": cells}), "x", settings, ledger)
    assert values.dtype == np.float64
    return values.tolist(), [problem.message for problem in ledger.errors]


def test_numbers_and_the_many_ways_to_say_missing() -> None:
    values, errors = numbers([" 1.5 ", "-2", "+3e2", ".5", "", "NA", "nan", "NULL", "-", "N/A", None])
    assert values[:4] == [1.5, -2.0, 300.0, 0.5]
    assert np.isnan(values[4:]).all()
    assert errors == []


def test_typed_columns() -> None:
    assert numbers([1, 2]) == ([1.0, 2.0], [])
    assert numbers([True, False]) == ([1.0, 0.0], [])
    assert np.isnan(numbers([None, None])[0]).all()
    assert numbers([[1], [2]])[1] == [
        "column 'x' holds List(Int64); expected numbers. Give it another kind or another column."
    ]


@pytest.mark.parametrize(
    ("cells", "settings", "said"),
    [
        (["1", "two", "3", "?!"], PLAIN, "row 2: 'two' is not a number (2 such cells). Write a number, leave"),
        (["1", "12,5"], PLAIN, "row 2: '12,5' is not a number (1 such cell). If the comma is the decimal sign, set"),
        (["1.234,56"], PLAIN, "set data.decimal_comma: true"),
        (["1,234.5"], PLAIN, "Write it without thousands separators, as in 1234.5"),
        (["3", "1.5"], COMMA, "row 2: '1.5' is not a number (1 such cell). Expected a decimal comma"),
        (["1.23.4"], COMMA, "'1.23.4' is not a number"),
        (["inf"], PLAIN, "'inf' is not a number"),
        (["0x10"], PLAIN, "'0x10' is not a number"),
        (["1_000"], PLAIN, "'1_000' is not a number"),
        (["1", "1e999"], PLAIN, "row 2: the value is infinite; expected a finite number (1 such cells)"),
        ([1.0, float("-inf")], PLAIN, "row 2: the value is infinite"),
    ],
)
def test_bad_cells_are_named_and_become_missing(cells: list[object], settings: DataSettings, said: str) -> None:
    values, errors = numbers(cells, settings)
    assert len(errors) == 1
    assert said in errors[0]
    assert np.isnan(values).any()


def test_decimal_comma_and_groups() -> None:
    assert numbers(["12,5", "1.234,5", "1 234", "-7", "1.234.567,8", "0,123"], COMMA) == (
        [12.5, 1234.5, 1234.0, -7.0, 1234567.8, 0.123],
        [],
    )


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_every_written_float_is_read_back_exactly(values: list[float]) -> None:
    assert numbers([repr(value) for value in values]) == (values, [])


def test_texts_are_kept_as_written() -> None:
    ledger = Ledger()
    frame = pl.DataFrame({"t": [" a", "NA", "", "  ", None], "n": [1.0, None, float("nan"), 2.0, 3.0]})
    assert text_column(frame, "t", ledger).tolist() == [" a", "NA", None, None, None]
    assert text_column(frame, "n", ledger).tolist() == ["1", None, None, "2", "3"]
    assert ledger.problems == []
    text_column(pl.DataFrame({"l": [[1]]}), "l", ledger)
    assert ledger.errors[0].message.startswith("column 'l' holds List(Int64); expected text.")


def test_message_names_the_line_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "s.csv"
    file.write_text("x\n1\n\nbad\n")
    ledger = Ledger(file)
    number_column(read_table(file, PLAIN), "x", PLAIN, ledger)
    assert ledger.errors[0].message.startswith("column 'x', row 2 (line 4 of s.csv): 'bad' is not a number")


def test_missing_columns_are_all_named_with_the_nearest() -> None:
    with pytest.raises(PreflightError) as caught:
        require_columns(pl.DataFrame({"sales": [1], "ds": ["x"]}), ["sale", "ds", "zzz"], Ledger())
    text = str(caught.value)
    assert "there is no column 'sale'. Did you mean 'sales'? The table has: sales, ds." in text
    assert "there is no column 'zzz'. The table has" in text


@given(st.lists(st.text("0123456789.,eE+- '\u00a0x", max_size=8), min_size=1, max_size=4), st.booleans())
def test_every_cell_is_a_number_missing_or_an_error(cells: list[str], comma: bool) -> None:
    values, errors = numbers(list(cells), DataSettings(decimal_comma=comma))
    absent = sum(cell.strip() in ("", "-", "--", ".") for cell in cells)
    assert (int(np.isnan(values).sum()) > absent) == bool(errors)
