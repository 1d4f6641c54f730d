"""Guesses about undescribed tables, each said in a sentence."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from seqloom.data.guess import guess_kinds, guess_series
from seqloom.errors import DataError

DAYS = [str(np.datetime64("2012-01-01") + day) for day in range(1461)]
VALUES = [str(day % 50) for day in range(1461)]


def test_one_daily_series() -> None:
    guess = guess_series(pl.DataFrame({"weather": ["sun", "rain", "fog"] * 487, "date": DAYS, "load": VALUES}))
    assert (guess.time, guess.id, guess.targets, guess.categories) == ("date", None, ("load",), ("weather",))
    assert (guess.frequency, guess.season_length) == ("1d", 7)
    assert guess.assumptions == [
        "time column: date (1,461 dates, daily)",
        "series: one",
        "target: load (the only column of numbers)",
        "season: 7 steps",
        "read as past covariates: weather",
    ]


def test_target_by_name_by_place_and_as_told() -> None:
    frame = pl.DataFrame({"ds": DAYS, "sales": VALUES, "a": VALUES, "b": VALUES})
    assert guess_series(frame).targets == ("sales",)
    assert "target: sales (by its name; others can be named with --target)" in guess_series(frame).assumptions
    assert guess_series(frame.drop("sales")).targets == ("b",)
    assert guess_series(frame, target=["a", "b"]).targets == ("a", "b")
    assert guess_series(frame, target=["a"]).numbers == ("sales", "b")


def test_long_table_finds_its_series() -> None:
    frame = pl.DataFrame(
        {"ds": DAYS[:50] * 2, "kind": ["k"] * 100, "store": [1] * 50 + [2] * 50, "y": [float(i) for i in range(100)]}
    )
    guess = guess_series(frame)
    assert (guess.id, guess.targets, guess.frequency) == ("store", ("y",), "1d")
    assert "series: 2, named by column store" in guess.assumptions
    assert "time column: ds (50 dates, daily)" in guess.assumptions
    with pytest.raises(DataError, match=r"dates repeat in column 'ds' and no column tells the rows apart"):
        guess_series(frame.drop("store"))


def test_a_column_that_names_every_row_names_no_series() -> None:
    frame = pl.DataFrame({"ds": DAYS[:5] * 2, "name": list("abcdefghij"), "y": range(10)})
    with pytest.raises(DataError, match=r"no column tells the rows apart"):
        guess_series(frame)


def test_decimal_comma_is_seen() -> None:
    frame = pl.DataFrame({"datum": ["01.02.2020", "02.02.2020"], "wert": ["1,5", "1.234,25"]})
    guess = guess_series(frame)
    assert guess.decimal_comma
    assert guess.targets == ("wert",)
    assert "numbers: written with a decimal comma" in guess.assumptions
    assert guess_series(frame.with_columns(wert=pl.lit("3.5"))).decimal_comma is False


def test_years_are_dates_only_by_name_and_one_bad_cell_is_no_text() -> None:
    frame = pl.DataFrame({"count": [1900 + i for i in range(200)], "year": [1800 + i for i in range(200)]})
    guess = guess_series(frame)
    assert (guess.time, guess.targets, guess.frequency, guess.season_length) == ("year", ("count",), "1y", 1)
    spoiled = frame.with_columns(pl.Series("count", ["oops", *map(str, range(199))]))
    assert guess_series(spoiled).targets == ("count",)


def test_nothing_to_guess() -> None:
    with pytest.raises(DataError, match=r"no column of dates was found among a, b"):
        guess_series(pl.DataFrame({"a": ["x"], "b": [1]}))
    with pytest.raises(DataError, match=r"no column of numbers was found to forecast"):
        guess_series(pl.DataFrame({"ds": DAYS, "a": ["x"] * 1461}))
    with pytest.raises(DataError, match=r"there is no column 'yy'"):
        guess_series(pl.DataFrame({"ds": DAYS, "y": VALUES}), target=["yy"])


def test_kinds_of_columns() -> None:
    frame = pl.DataFrame(
        {
            "n": ["1", "2.5", "", "4"],
            "c": ["a", "b", "a", "b"],
            "t": ["one", "two", "three", "four"],
            "s": [[1.0], [1.0, 2.0], [], [3.0]],
            "v": ["[1, 2]", "[3, 4]", "[5, 6]", "[7, 8]"],
            "l": [["x"], ["y", "z"], ["x"], ["z"]],
            "f": [[[1, 2]], [[3, 4]], [[5, 6]], [[7, 8]]],
        }
    )
    assert guess_kinds(frame) == {
        "n": "number", "c": "category", "t": "text", "s": "series", "v": "vector", "l": "labels", "f": "series",
    }  # fmt: skip
