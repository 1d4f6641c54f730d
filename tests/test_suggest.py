"""The settings that an undescribed table starts from."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from seqloom.data.guess import guess_series
from seqloom.errors import UsageError
from seqloom.recipe import parse_recipe
from seqloom.suggest import context_length, examples_recipe, forecast_recipe, naive_error, with_covariates

DAYS = np.datetime64("2024-01-01") + np.arange(400)


def table(values: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({"date": DAYS[: len(values)].astype(str), "y": values.round(3).astype(str)})


def test_a_seasonal_series_starts_from_its_season_and_a_random_walk_from_its_last_value() -> None:
    random = np.random.default_rng(0)
    weekly = 10 * np.sin(np.arange(400) / 7 * 2 * np.pi) + random.normal(size=400)
    walk = random.normal(size=400).cumsum()
    for values, expected in ((weekly, [7]), (walk, [1])):
        frame = table(values)
        document = forecast_recipe(guess_series(frame), frame, 7)
        assert document["outputs"]["forecast"]["baseline"] == expected
        assert document["inputs"]["past"]["lags"] == [1, 7]
        parse_recipe(document)


def test_naive_error_by_hand() -> None:
    values = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 0.0, 0.0, 0.0])
    frame = table(values)
    guess = guess_series(frame)
    seen = values[:6]  # 70 % of the rows, rounded
    steps = [np.abs(seen[1:] - seen[:-1]).mean(), np.abs(seen[2:] - seen[:-2]).mean()]
    assert naive_error(guess, frame, 1, 2) == pytest.approx(np.mean(steps) / seen.std())


def test_the_part_that_is_tested_on_is_not_looked_at() -> None:
    values = np.arange(100.0)
    changed = values.copy()
    changed[70:] = -1e6
    frames = [table(values), table(changed)]
    errors = [naive_error(guess_series(frame), frame, 1, 7) for frame in frames]
    assert errors[0] == errors[1]


@pytest.mark.parametrize(
    ("season", "horizon", "steps", "expected"),
    [(7, 7, 1000, 56), (24, 24, 10_000, 96), (52, 13, 1000, 104), (7, 60, 1000, 120), (7, 7, 60, 20), (1, 1, 2, 1)],
)
def test_context_length(season: int, horizon: int, steps: int, expected: int) -> None:
    assert context_length(season, horizon, steps) == expected


def test_named_covariates_are_the_only_ones() -> None:
    frame = table(np.arange(60.0)).with_columns(rain=pl.col("y"), wind=pl.col("y"), kind=pl.lit("a"))
    guess = guess_series(frame, target=["y"])
    assert with_covariates(guess, {}) is guess
    chosen = with_covariates(guess, {"wind": "series"})
    assert (chosen.numbers, chosen.categories) == (("wind",), ())
    with pytest.raises(UsageError, match=r"--input rain:category: .* can be rain:series, wind:series, kind"):
        with_covariates(guess, {"rain": "category"})


def test_the_longest_text_goes_in_where_no_list_does() -> None:
    frame = pl.DataFrame(
        {
            "title": [f"title {k}" for k in range(20)],
            "body": [f"a longer text number {k}" for k in range(20)],
            "mood": ["glad", "sad"] * 10,
        }
    )
    recipe = examples_recipe(frame, {}, {})
    assert {name: entry["kind"] for name, entry in recipe["inputs"].items()} == {"body": "text"}
    assert recipe["outputs"] == {"mood": {"kind": "category", "columns": ["mood"]}}
    listed = frame.with_columns(x=pl.Series([[1.0] * (1 + k % 3) for k in range(20)]))
    assert {entry["kind"] for entry in examples_recipe(listed, {}, {})["inputs"].values()} == {"series"}


def test_ratings_are_liked_from_the_middle_one_on_and_not_read_backwards() -> None:
    frame = pl.DataFrame({"films": [["a", "b"], ["c"]], "stars": [[1.0, 5.0], [4.0]]})
    recipe = examples_recipe(frame, {"films": "items", "stars": "series"}, {"stars": "liked"})
    assert recipe["outputs"] == {"stars": {"kind": "liked", "columns": ["stars"], "at_least": 4.0}}
    assert recipe["core"]["bidirectional"] is False
    parse_recipe(recipe)
