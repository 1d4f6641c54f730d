"""Lists in cells: what typed columns give at once is what looking at each cell gives."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqloom.data import nested
from seqloom.data.ledger import Ledger
from seqloom.data.nested import Cell, nested_column

numbers = st.none() | st.floats(allow_infinity=False, width=32)
whole = st.none() | st.integers(-(2**62), 2**62)
texts = st.none() | st.sampled_from(["", "a", "bé", " ", "None", "0"])


def read(column: pl.Series, kind: str) -> tuple[list[Cell], list[str]]:
    ledger = Ledger()
    return nested_column(column, kind, ledger), [problem.message for problem in ledger.errors]


def one_by_one(column: pl.Series, kind: str) -> list[Cell]:
    """Without the way for typed columns."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nested, "_end_to_end", lambda column, kind: None)
        return read(column, kind)[0]


def assert_same(found: list[Cell], expected: list[Cell]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("kind", "values", "inner"),
    [
        ("number", numbers, pl.Float64),
        ("number", numbers, pl.Float32),
        ("number", whole, pl.Int64),
        ("text", texts, pl.String),
    ],
)
def test_all_at_once_is_cell_by_cell(kind: str, values: st.SearchStrategy[object], inner: type[pl.DataType]) -> None:
    @given(st.lists(st.none() | st.lists(values, max_size=4), max_size=6))
    def holds(cells: list[list[object] | None]) -> None:
        column = pl.Series("x", cells, dtype=pl.List(inner))
        assert_same(read(column, kind)[0], one_by_one(column, kind))

    holds()


def test_equal_texts_are_one_object() -> None:
    (cell, other), _ = read(pl.Series("x", [["yes", "no", "yes", ""], ["no"]]), "text")
    assert cell is not None
    assert other is not None
    assert cell.tolist() == ["yes", "no", "yes", None]
    assert cell[0] is cell[2]
    assert cell[1] is other[0]


def test_an_infinite_number_is_named_as_ever() -> None:
    cells, errors = read(pl.Series("x", [[1.0], [2.0, float("inf")]]), "number")
    assert cells[1] is None
    assert errors == [
        "column 'x', row 2: item 2 is infinite. Expected a list of finite numbers, or of equally long lists of them."
    ]


@pytest.mark.parametrize("kind", ["number", "text"])
def test_arrays_and_written_lists_are_lists(kind: str) -> None:
    values = [[1.0, 2.0], [3.0, 4.0]] if kind == "number" else [["a", "b"], ["b", "a"]]
    expected, _ = read(pl.Series("x", values), kind)
    fixed = pl.Series("x", values, dtype=pl.Array(pl.Float64 if kind == "number" else pl.String, 2))
    written = pl.Series("x", [json.dumps(value) for value in values])
    for column in (fixed, written):
        assert_same(read(column, kind)[0], expected)
