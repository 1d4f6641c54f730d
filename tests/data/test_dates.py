"""Dates in the ways people write them, and doubt as an error."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqloom.data.dates import time_column
from seqloom.data.ledger import Ledger
from seqloom.data.settings import DataSettings


def read(cells: object, **settings: object) -> tuple[list[str], Ledger]:
    ledger = Ledger()
    frame = pl.DataFrame({"ds": cells}, strict=False)
    times = time_column(frame, "ds", DataSettings.model_validate(settings), ledger)
    assert times.dtype == np.dtype("datetime64[us]")
    return [str(time)[:19] for time in times], ledger


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["2020-01-31", "2020-02-01"], ["2020-01-31T00:00:00", "2020-02-01T00:00:00"]),
        (["2020-1-5 7:05"], ["2020-01-05T07:05:00"]),
        (["2020-01-31T13:45:10.5"], ["2020-01-31T13:45:10"]),
        (["2020/01/31"], ["2020-01-31T00:00:00"]),
        (["20200131"], ["2020-01-31T00:00:00"]),
        ([20200131], ["2020-01-31T00:00:00"]),
        (["31.1.2020"], ["2020-01-31T00:00:00"]),
        (["2/1/2020", "1/31/2020"], ["2020-02-01T00:00:00", "2020-01-31T00:00:00"]),
        (["2/1/2020", "31/1/2020"], ["2020-01-02T00:00:00", "2020-01-31T00:00:00"]),
        (["02-01-2020", "01-31-2020"], ["2020-02-01T00:00:00", "2020-01-31T00:00:00"]),
        (["3/3/2020 11:30 PM", "3/3/2020 12:15 am"], ["2020-03-03T23:30:00", "2020-03-03T00:15:00"]),
        (["18-Mar-96"], ["1996-03-18T00:00:00"]),
        (["January 2, 2020", "May 3, 2020"], ["2020-01-02T00:00:00", "2020-05-03T00:00:00"]),
        (["Jan 2000"], ["2000-01-01T00:00:00"]),
        (["2020-03"], ["2020-03-01T00:00:00"]),
        (["2020Q3", "2020-Q4"], ["2020-07-01T00:00:00", "2020-10-01T00:00:00"]),
        ([1871, 1872], ["1871-01-01T00:00:00", "1872-01-01T00:00:00"]),
        (["1577836800"], ["2020-01-01T00:00:00"]),
        ([1577836800000.0], ["2020-01-01T00:00:00"]),
        ([1577836800000000], ["2020-01-01T00:00:00"]),
        ([date(2020, 1, 31)], ["2020-01-31T00:00:00"]),
        ([datetime(2020, 1, 31, 5)], ["2020-01-31T05:00:00"]),
    ],
)
def test_ways_of_writing_dates(cells: list[object], expected: list[str]) -> None:
    times, ledger = read(cells)
    assert times == expected
    assert ledger.errors == []


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["01/02/2020", "03/04/2020"], "row 1: '01/02/2020' may be day-month or month-day, and no cell decides it"),
        (
            ["13/02/2020", "02/13/2020"],
            "with the day first and with the month first: '13/02/2020' in row 1 and '02/13/2020' in row 2",
        ),
        (
            ["2020-01-01", "2020-01-02", "03.01.2020"],
            "writes dates in 2 ways: '2020-01-01' in row 1 and '03.01.2020' in row 3",
        ),
        (["2020-01-01", "2020-01-02 05:00"], "writes dates in 2 ways"),
        (["2020-01-01", "soon"], "row 2: 'soon' is not a date; expected one such as 2024-01-31"),
        (["2020-01-01", "2020-02-30"], "row 2: '2020-02-30' is no day of the calendar"),
        (["2020-01-01", "", None], "row 2: the date is missing; expected one in every row (2 such cells)"),
        (["2020-01-01 05:00Z", "2020-01-01 06:00"], "with and without an offset from UTC"),
        ([True, False], "holds Boolean; expected dates"),
    ],
)
def test_doubt_is_an_error(cells: list[object], said: str) -> None:
    _, ledger = read(cells)
    assert [said in problem.message for problem in ledger.errors] == [True]


def test_ambiguous_dates_propose_both_formats() -> None:
    _, ledger = read(["01-02-2020", "03-04-2020"])
    assert ledger.errors[0].message.endswith("Set data.time_format: '%d-%m-%Y' or '%m-%d-%Y'.")


def test_named_format_decides() -> None:
    assert read(["01/02/2020"], time_format="%d/%m/%Y")[0] == ["2020-02-01T00:00:00"]
    assert read(["01/02/2020"], time_format="%m/%d/%Y")[0] == ["2020-01-02T00:00:00"]
    assert read(["2020-01-01 05:00+0200"], time_format="%Y-%m-%d %H:%M%z")[0] == ["2020-01-01T03:00:00"]
    times, ledger = read(["01/02/2020", "2020"], time_format="%d/%m/%Y")
    assert times[1] == "NaT"
    assert "row 2: '2020' is not written as data.time_format '%d/%m/%Y' says" in ledger.errors[0].message


def test_offsets_become_utc_across_a_change_of_the_clock() -> None:
    times, ledger = read(["2020-10-25T02:00:00+02:00", "2020-10-25T02:00:00+01:00", "2020-10-24T20:30:00-0330"])
    assert times == ["2020-10-25T00:00:00", "2020-10-25T01:00:00", "2020-10-25T00:00:00"]
    assert "converted to UTC" in ledger.notes[0].message
    assert "between -03:30 and +02:00" in ledger.notes[0].message


def test_midnights_with_offsets_are_local_days() -> None:
    times, ledger = read(["2020-03-29T00:00:00+01:00", "2020-03-30T00:00:00+02:00"])
    assert times == ["2020-03-29T00:00:00", "2020-03-30T00:00:00"]
    assert "their local dates are used" in ledger.notes[0].message


def test_typed_zones_follow_the_same_rule() -> None:
    zone = "Europe/Berlin"
    noon = pl.Series([datetime(2020, 7, 1, 10, tzinfo=UTC)]).dt.convert_time_zone(zone)
    days = pl.Series([datetime(2020, 6, 30, 22, tzinfo=UTC)]).dt.convert_time_zone(zone)
    assert read(noon)[0] == ["2020-07-01T10:00:00"]
    assert read(days)[0] == ["2020-07-01T00:00:00"]


MOMENTS = st.datetimes(datetime(1950, 1, 1), datetime(2090, 1, 1)).map(lambda time: time.replace(microsecond=0))


@given(st.lists(MOMENTS, min_size=1, max_size=5), st.integers(-14, 14))
def test_iso_times_with_any_offset_are_exact(moments: list[datetime], hours: int) -> None:
    zone = f"{'-' if hours < 0 else '+'}{abs(hours):02d}:00"
    times, ledger = read([f"{moment.isoformat(sep=' ')}{zone}" for moment in moments])
    if all((moment.hour, moment.minute, moment.second) == (0, 0, 0) for moment in moments):
        hours = 0
    assert times == [(moment - timedelta(hours=hours)).isoformat() for moment in moments]
    assert ledger.errors == []


@given(st.lists(st.one_of(st.none(), st.text("0123456789-/.: TZ+JanapmQ", max_size=20)), min_size=1, max_size=4))
def test_every_cell_is_a_date_or_an_error(cells: list[str | None]) -> None:
    times, ledger = read(pl.Series(cells, dtype=pl.String))
    assert ("NaT" in times) == bool([problem for problem in ledger.errors if problem.code != "mixed-zones"])
