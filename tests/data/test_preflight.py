"""The pre-flight check finds what was planted, and keeps quiet about clean data."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from seqloom.data.columns import ColumnUse
from seqloom.data.examples import read_examples
from seqloom.data.leaks import leaking_shift
from seqloom.data.ledger import Ledger, Problem
from seqloom.data.preflight import check_examples, check_series
from seqloom.data.segments import Column, Segments
from seqloom.data.series import read_series
from seqloom.data.settings import DataSettings, SplitSettings
from seqloom.data.splits import ExampleSplit, split_series

N = 120
Y = ColumnUse("y", "number", "target")
K = ColumnUse("k", "number", "known")
P = ColumnUse("p", "number", "past")
C = ColumnUse("c", "text", "known")


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(10, 2, N).round(3)


def check(uses: list[ColumnUse], horizon: int = 7, context_length: int = 14, **columns: Column) -> list[Problem]:
    """Problems of series a (and b, where columns hold 2 N values)."""
    size = len(columns["y"])
    days = np.datetime64("2020-01-01") + np.arange(N)
    frame = pl.DataFrame(
        {"ds": [str(day) for day in days] * (size // N), "id": ["a"] * N + ["b"] * (size - N)} | columns
    )
    ledger = Ledger()
    data = DataSettings(time="ds", id="id")
    segments = read_series(frame, data, uses, ledger)
    split = split_series(segments, SplitSettings(valid=0.2, test=0.2), ["y"])
    check_series(segments, uses, split, horizon, context_length, ledger)
    return ledger.problems


def test_clean_data_has_no_problem() -> None:
    weekday = np.array(["work", "rest"] * (N // 2), dtype=object)
    assert check([Y, K, P, C], y=noise(1), k=noise(2), p=noise(3), c=weekday) == []


@pytest.mark.parametrize("shift", [0, 1, 7, -1, -6])
@pytest.mark.parametrize("scale", [1.0, -3.0])
def test_column_that_tells_the_future_is_a_leak(shift: int, scale: float) -> None:
    y = noise()
    k = scale * np.roll(y, -shift) + 1
    (problem,) = check([Y, K], y=y, k=k)
    assert (problem.severity, problem.code, problem.column) == ("error", "leak", "k")
    words = {0: "is the target 'y' (", 1: "'y' 1 steps later", -6: "'y' 6 steps earlier"}
    assert words.get(shift, "is the target 'y'") in problem.message


def test_nearly_equal_is_a_leak_and_similar_is_not() -> None:
    y = noise()
    assert [p.code for p in check([Y, K], y=y, k=y + 0.001 * noise(1))] == ["leak"]
    assert check([Y, K], y=y, k=y + 0.5 * noise(1)) == []


def test_old_enough_values_and_shared_trends_are_no_leak() -> None:
    y = noise()
    assert check([Y, K], y=y, k=np.roll(y, 7)) == []
    assert check([Y, P], y=y, p=y) == []
    rising = np.arange(N) * 100 + noise(1)
    assert check([Y, K], y=np.arange(N) * 100 + noise(2), k=rising) == []


def test_leak_does_not_reach_across_series() -> None:
    y = np.arange(6, dtype=float)
    offsets = np.array([0, 3, 6])
    segments = Segments(["a", "b"], offsets, {"k": np.roll(y, 1), "y": y}, {})
    assert leaking_shift(segments, "k", "y", 3) is None


def test_known_values_missing_ahead() -> None:
    k = noise(1)
    k[[5, 80, 100]] = np.nan
    (problem,) = check([Y, K], y=noise(), k=k)
    assert (problem.severity, problem.count, problem.date, problem.series) == ("warning", 2, "2020-03-21", "a")
    assert "missing in 2 of 48 steps after the train part, first at 2020-03-21 of series 'a'" in problem.message
    k[72:] = np.nan
    (problem,) = check([Y, K], y=noise(), k=k)
    assert (problem.severity, problem.count) == ("error", 48)


def test_too_little_history() -> None:
    (problem,) = check([Y], horizon=30, context_length=60, y=noise())
    assert problem.severity == "error"
    assert (
        "the longest has 72 steps in the train part; expected at least 90 (context_length + horizon)" in problem.message
    )
    ledger = Ledger()
    frame = pl.DataFrame(
        {
            "ds": [f"2020-01-{d:02d}" for d in [*range(1, 31), *range(14, 31)]],
            "id": ["a"] * 30 + ["b"] * 17,
            "y": noise()[:47],
        }
    )
    segments = read_series(frame, DataSettings(time="ds", id="id"), [Y], ledger)
    check_series(segments, [Y], split_series(segments, SplitSettings(), ["y"]), 3, 10, ledger)
    assert [(p.code, p.series, p.count) for p in ledger.warnings] == [("short-history", "b", 9)]


def test_constant_missing_and_absent_targets() -> None:
    constant = check([Y], y=np.concatenate([noise(), np.full(N, 4.0)]))
    assert [(p.code, p.series) for p in constant] == [("constant", "b")]
    assert "all 120 values of 'y' are 4" in constant[0].message
    absent = check([Y], y=np.concatenate([noise(), np.full(N, np.nan)]))
    assert [(p.code, p.series) for p in absent] == [("no-history", "b")]
    y = noise()
    y[20:40] = np.nan
    (problem,) = check([Y], y=y)
    assert (problem.code, problem.date, problem.count) == ("long-missing", "2020-01-21", 20)
    y[20:40] = 9.0
    y[20:33] = np.nan
    assert check([Y], y=y) == []


def test_zeros_and_far_values() -> None:
    y = noise()
    y[30:44] = 0
    (problem,) = check([Y], y=y)
    assert (problem.severity, problem.code, problem.date, problem.count) == ("note", "zeros", "2020-01-31", 14)
    y = noise()
    y[110] = 5000
    (problem,) = check([Y], y=y)
    assert (problem.code, problem.date, problem.count) == ("far-value", "2020-04-20", 1)
    assert "'y' is 5000, far outside" in problem.message


def test_categories_never_seen_in_training() -> None:
    c = np.array(["x"] * 100 + ["new"] * 20, dtype=object)
    (problem,) = check([Y, C], y=noise(), c=c)
    assert (problem.severity, problem.code, problem.count) == ("warning", "unseen-category", 20)
    assert "1 categories that the train part never shows: 'new' (20)" in problem.message


# Tables of examples

X = ColumnUse("x", "number", "past")
LABEL = ColumnUse("label", "text", "target")


def check_table(uses: list[ColumnUse], part: list[str], **columns: list[object]) -> list[Problem]:
    ledger = Ledger()
    segments = read_examples(pl.DataFrame(columns), DataSettings(), uses, ledger)
    check_examples(segments, uses, ExampleSplit(np.array(part)), ledger)
    return ledger.problems


PART = ["train"] * 6 + ["valid"] * 2 + ["test"] * 2


def test_clean_examples_have_no_problem() -> None:
    lists = [[float(i), float(i % 3)] for i in range(10)]
    assert check_table([X, LABEL], PART, x=lists, label=["p", "q"] * 5) == []


def test_labels_of_examples() -> None:
    lists = [[float(i)] for i in range(10)]
    found = check_table([X, LABEL], PART, x=lists, label=["p", "q"] * 4 + [None, "odd"])
    assert [(p.code, p.row) for p in found] == [("missing-target", 9), ("untaught-label", 10), ("label-once", 10)]
    assert "'odd' (1), first in row 10" in found[1].message
    (problem,) = check_table([X, LABEL], PART, x=lists, label=["p"] * 10)
    assert (problem.severity, problem.code) == ("error", "constant")
    many = ["train"] * 80
    found = check_table([X, LABEL], many, x=[[float(i)] for i in range(80)], label=["p"] * 78 + ["q"] * 2)
    assert [p.message for p in found] == ["target 'label' is unbalanced: 'p' 78 times, 'q' 2 times."]


def test_values_of_examples() -> None:
    lists = [[float(i)] for i in range(10)]
    lists[8] = [1e6]
    (problem,) = check_table([X, LABEL], PART, x=lists, label=["p", "q"] * 5)
    assert (problem.code, problem.row, problem.count) == ("far-value", 9, 1)
    missing = check_table([ColumnUse("z", "number", "static"), LABEL], PART, z=[None] * 10, label=["p", "q"] * 5)
    assert [p.code for p in missing if p.severity == "error"] == ["all-missing"]


def test_examples_repeated_across_parts() -> None:
    lists = [[float(i), 1.0] for i in range(10)]
    lists[7] = lists[2]
    (problem,) = check_table([X, LABEL], PART, x=lists, label=["p", "q"] * 5)
    assert (problem.code, problem.row, problem.count) == ("repeated-example", 8, 1)
    assert "first row 8 those of row 3" in problem.message


def test_texts_that_are_empty_or_stand_in_two_parts() -> None:
    texts = [f"Text  number {i}" for i in range(10)]
    texts[3], texts[9] = "  ", "text number 0 "
    found = check_table([ColumnUse("t", "text", "cell"), LABEL], PART, t=texts, label=["p", "q"] * 5)
    assert [(p.code, p.row, p.count) for p in found] == [("empty-text", 4, 1), ("repeated-example", 10, 1)]
    assert "first row 10 those of row 1" in found[1].message
