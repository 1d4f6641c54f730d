"""Train, valid and test: one date for all series, whole groups for examples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqloom.data.segments import Column, Segments
from seqloom.data.settings import SplitSettings
from seqloom.data.splits import ExampleSplit, SeriesSplit, split_examples, split_series
from seqloom.errors import DataError

NAN = float("nan")


def series(*values: list[float], starts: list[str] | None = None, **columns: Column) -> Segments:
    starts = starts or ["2020-01-01"] * len(values)
    lengths = [len(value) for value in values]
    times = [
        np.datetime64(start, "us") + np.arange(n) * np.timedelta64(1, "D")
        for start, n in zip(starts, lengths, strict=True)
    ]
    steps: dict[str, Column] = {"y": np.concatenate([np.array(value, dtype=np.float64) for value in values])}
    static = {name: column for name, column in columns.items() if len(column) == len(values)}
    steps |= {name: column for name, column in columns.items() if name not in static}
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Segments([f"s{i}" for i in range(len(values))], offsets, steps, static, np.concatenate(times), "1d")


def divide(segments: Segments, **settings: object) -> SeriesSplit:
    return split_series(segments, SplitSettings.model_validate(settings), ["y"])


def days(split: SeriesSplit) -> list[str]:
    return [str(date)[:10] for date in (split.valid_date, split.test_date, split.end_date)]


def test_shares_are_of_the_common_dates_without_the_future() -> None:
    ten = [float(i) for i in range(10)]
    segments = series([*ten, NAN, NAN], ten[:5], starts=["2020-01-01", "2020-01-06"])
    split = divide(segments, valid=0.2, test=0.3)
    assert days(split) == ["2020-01-06", "2020-01-08", "2020-01-10"]
    assert split.valid.tolist() == [5, 0]
    assert split.test.tolist() == [7, 2]
    assert split.end.tolist() == [10, 5]
    assert [edge.tolist() for edge in split.range_of("valid")] == [[5, 0], [7, 2]]


def test_dates_and_until() -> None:
    split = divide(series([1.0] * 20), valid="2020-01-11", test="2020-01-15", until="2020-01-18")
    assert (split.valid.tolist(), split.test.tolist(), split.end.tolist()) == ([10], [14], [18])
    mixed = divide(series([1.0] * 20), valid=0.25, test="2020-01-16")
    assert days(mixed) == ["2020-01-11", "2020-01-16", "2020-01-20"]


def test_share_of_zero_leaves_a_part_out() -> None:
    split = divide(series([1.0] * 10), valid=0.0, test=0.2)
    assert (split.valid.tolist(), split.test.tolist()) == ([8], [8])
    split = divide(series([1.0] * 10), valid=0.0, test=0.0)
    assert (split.valid.tolist(), split.end.tolist()) == ([10], [10])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"test": "2021-01-01"}, "data.split.test is 2021-01-01, but the data run from 2020-01-01 to 2020-01-10"),
        ({"valid": "soon"}, "data.split.valid is 'soon'; expected a date such as 2020-01-10, or a share such as 0.15"),
        ({"valid": "2020-13-01"}, "data.split.valid is '2020-13-01', which is no date"),
        (
            {"valid": "2020-01-08", "test": "2020-01-04"},
            "the parts are out of order: train from 2020-01-01, valid from 2020-01-08",
        ),
        ({"valid": 1.5}, "data.split.valid is 1.5 beside a number of steps; expected a whole number of steps"),
        ({"valid": 0.5, "test": 0.5}, "out of order"),
        ({"valid": "2020-01-05", "test": "2020-01-05"}, "the valid part has no observed step"),
        ({"valid": 0.01, "test": 0.2}, "the valid part has no observed step"),
        ({"group": "g"}, "data.split.group is 'g', but series are divided by time"),
    ],
)
def test_impossible_splits_of_series_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(DataError) as caught:
        divide(series([1.0] * 10), **settings)
    assert said in str(caught.value)


def test_nothing_observed() -> None:
    with pytest.raises(DataError, match=r"no series has an observed value in 'y'"):
        divide(series([NAN, NAN]))


def test_column_of_parts() -> None:
    part = np.array(["train", "Train", None, "valid", "test", "test", "train", "valid"], dtype=object)
    split = divide(series([1.0] * 6, [1.0] * 2, part=part), column="part")
    assert (split.valid.tolist(), split.test.tolist(), split.end.tolist()) == ([3, 1], [4, 2], [6, 2])
    whole = divide(series([1.0] * 3, [1.0] * 2, part=np.array(["train", "test"], dtype=object)), column="part")
    assert (whole.valid.tolist(), whole.test.tolist(), whole.end.tolist()) == ([3, 0], [3, 0], [3, 2])
    with pytest.raises(DataError, match=r"column 'part' returns to an earlier part within series 's0'"):
        divide(series([1.0] * 3, part=np.array(["valid", "train", "test"], dtype=object)), column="part")
    with pytest.raises(DataError, match=r"column 'part' holds 'dev'.*expected train, valid, test"):
        divide(series([1.0] * 2, part=np.array(["train", "dev"], dtype=object)), column="part")
    with pytest.raises(DataError, match=r"leaves the train part empty"):
        divide(series([1.0] * 2, part=np.array(["test", "test"], dtype=object)), column="part")


def examples(n: int, **static: Column) -> Segments:
    return Segments([str(i) for i in range(n)], np.zeros(n + 1, dtype=np.int64), {}, static)


def draw(segments: Segments, **settings: object) -> ExampleSplit:
    return split_examples(segments, SplitSettings.model_validate(settings))


@given(st.integers(20, 200), st.integers(0, 5))
def test_shares_of_examples_are_exact_and_repeatable(n: int, seed: int) -> None:
    split = draw(examples(n), valid=0.2, test=0.1, seed=seed)
    counts = {part: int(np.sum(split.part == part)) for part in ("train", "valid", "test")}
    assert sum(counts.values()) == n
    assert abs(counts["test"] - 0.1 * n) <= 1
    assert abs(counts["valid"] - 0.2 * n) <= 1
    assert np.array_equal(split.part, draw(examples(n), valid=0.2, test=0.1, seed=seed).part)
    assert not np.array_equal(split.part, draw(examples(n), valid=0.2, test=0.1, seed=seed + 1).part)


@given(st.lists(st.integers(1, 5), min_size=40, max_size=60), st.integers(0, 9))
def test_groups_never_straddle_parts(sizes: list[int], seed: int) -> None:
    names = [f"g{group}" for group, size in enumerate(sizes) for _ in range(size)]
    split = draw(examples(len(names), who=np.array(names, dtype=object)), group="who", valid=0.3, test=0.3, seed=seed)
    homes = {(name, part) for name, part in zip(names, split.part, strict=True)}
    assert len(homes) == len(set(names))


def test_named_parts_of_examples() -> None:
    split = draw(examples(3, part=np.array(["test", " Train", "valid"], dtype=object)), column="part")
    assert split.part.tolist() == ["test", "train", "valid"]
    assert split.rows("valid").tolist() == [2]
    with pytest.raises(DataError, match=r"column 'part', row 2: the part is missing"):
        draw(examples(2, part=np.array(["train", None], dtype=object)), column="part")


def test_impossible_splits_of_examples_are_refused() -> None:
    with pytest.raises(DataError, match=r"data.split.test is '2020-01-01', but the table has no time axis"):
        draw(examples(9), test="2020-01-01")
    with pytest.raises(DataError, match=r"leave nothing to train on"):
        draw(examples(9), valid=0.5, test=0.5)
    with pytest.raises(DataError, match=r"the draw leaves the valid part empty \(train 2, valid 0, test 0 rows of 2\)"):
        draw(examples(2), valid=0.1, test=0.1)


def test_steps_count_from_the_end_of_each_series() -> None:
    segments = series([1.0] * 10, [1.0] * 6)
    split = split_series(segments, SplitSettings(valid=2, test=3), ["y"])
    assert split.test.tolist() == [7, 3]
    assert split.valid.tolist() == [5, 1]
    assert split.end.tolist() == [10, 6]
