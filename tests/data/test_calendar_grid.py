"""Grids of dates: their steps, their seasons and how they are found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqloom.data.calendar_grid import (
    grid_index,
    infer_frequency,
    is_month_end,
    offset_times,
    parse_frequency,
    season_length,
)
from seqloom.errors import DataError


def days(start: str, frequency: str, n: int, **options: bool) -> list[str]:
    return [str(time)[:16] for time in offset_times(np.datetime64(start), frequency, n, **options)]


def test_steps_of_each_kind() -> None:
    assert days("2020-02-28", "1d", 3) == ["2020-02-28T00:00", "2020-02-29T00:00", "2020-03-01T00:00"]
    assert days("2020-01-01T23:45", "15m", 2) == ["2020-01-01T23:45", "2020-01-02T00:00"]
    assert days("2021-01-01", "1bd", 3) == ["2021-01-01T00:00", "2021-01-04T00:00", "2021-01-05T00:00"]
    assert days("2020-01-15T06:00", "1mo", 3)[2] == "2020-03-15T06:00"
    assert days("2019-02-28", "1y", 2) == ["2019-02-28T00:00", "2020-02-29T00:00"]
    assert days("2020-01-01", "1q", 3)[2] == "2020-07-01T00:00"


def test_month_ends_stay_month_ends() -> None:
    assert days("2020-01-31", "1mo", 3) == ["2020-01-31T00:00", "2020-02-29T00:00", "2020-03-31T00:00"]
    assert days("2020-04-30", "1mo", 2) == ["2020-04-30T00:00", "2020-05-31T00:00"]
    assert days("2020-04-30", "1mo", 2, month_end=False) == ["2020-04-30T00:00", "2020-05-30T00:00"]


@pytest.mark.parametrize(
    ("frequency", "steps"),
    [("1h", 24), ("1d", 7), ("1bd", 5), ("1w", 52), ("1mo", 12), ("3mo", 4), ("1q", 4), ("15m", 96), ("30m", 48),
     ("1y", 1), ("1s", 60), ("5h", 1), ("2w", 26)],
)  # fmt: skip
def test_seasons(frequency: str, steps: int) -> None:
    assert season_length(frequency) == steps


@pytest.mark.parametrize("text", ["", "daily", "D", "0d", "1 d", "1min", "-1h"])
def test_other_frequencies_are_refused(text: str) -> None:
    with pytest.raises(DataError, match=f"data.frequency is '{text}'; expected a count and one of s, m, h, d, bd"):
        parse_frequency(text)


FREQUENCIES = st.sampled_from(["1s", "15m", "1h", "6h", "1d", "1bd", "1w", "1mo", "3mo", "1y"])


@given(FREQUENCIES, st.dates(np.datetime64("1971-01-01").item(), np.datetime64("2060-01-01").item()), st.data())
def test_a_grid_knows_its_own_dates_and_frequency(frequency: str, start: object, data: st.DataObject) -> None:
    first = np.datetime64(np.busday_offset(np.datetime64(start, "D"), 0, roll="forward"))
    times = offset_times(first, frequency, 40)
    at_end = is_month_end(times[:1])[0]
    origins, ends = np.repeat(times[:1], 40), np.full(40, at_end)
    index, fits = grid_index(times, origins, parse_frequency(frequency), ends)
    assert index.tolist() == list(range(40))
    assert fits.all()
    moved = times + np.timedelta64(data.draw(st.integers(1, 999_999)), "us")
    assert not grid_index(moved, origins, parse_frequency(frequency), ends)[1].any()
    if frequency != "1y" and (frequency not in ("1mo", "3mo") or start.day <= 28):  # type: ignore[attr-defined]
        assert infer_frequency(times, np.zeros(40, dtype=np.int64)) == frequency


def test_frequency_is_the_usual_distance_within_series() -> None:
    one = offset_times(np.datetime64("2020-01-01"), "1d", 30)
    gaps = one[[0, 1, 2, 9, 10, 11, 20, 21]]
    assert infer_frequency(gaps, np.zeros(8, dtype=np.int64)) == "1d"
    assert infer_frequency(one, np.arange(30)) is None
    # Two single days of different series say nothing about the distance of days.
    two = np.concatenate([one[:3:2], one[5:9:2]])
    assert infer_frequency(two, np.array([0, 0, 1, 1])) == "2d"


def test_five_week_days_are_not_yet_business_days() -> None:
    week = offset_times(np.datetime64("2021-01-04"), "1d", 5)
    assert infer_frequency(week, np.zeros(5, dtype=np.int64)) == "1d"
