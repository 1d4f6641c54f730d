"""Series on their grid: nothing imputed, nothing lost uncounted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from seqloom.data.columns import ColumnUse
from seqloom.data.ledger import Ledger
from seqloom.data.segments import Segments
from seqloom.data.series import extend, history_ends, read_series, select
from seqloom.data.settings import DataSettings
from seqloom.data.tables import read_table
from seqloom.errors import PreflightError

Y = ColumnUse("y", "number", "target")
K = ColumnUse("k", "number", "known")
LONG = {"time": "ds", "id": "id"}


def read(rows: dict[str, object], uses: list[ColumnUse] | None = None, **settings: object) -> tuple[Segments, Ledger]:
    ledger = Ledger()
    frame = pl.DataFrame(rows)
    return read_series(frame, DataSettings.model_validate({"time": "ds", **settings}), uses or [Y], ledger), ledger


def january(*days: int) -> list[str]:
    return [f"2020-01-{day:02d}" for day in days]


def nan_equal(found: object, expected: list[float | None]) -> bool:
    wanted = [np.nan if value is None else value for value in expected]
    return np.array_equal(np.asarray(found, dtype=np.float64), np.array(wanted), equal_nan=True)


def test_gaps_become_missing_steps_and_are_counted() -> None:
    segments, ledger = read({"ds": january(1, 2, 5, 6, 8), "y": ["1", "2", "5", "", "8"]})
    assert segments.ids == ["y"]
    assert segments.frequency == "1d"
    assert nan_equal(segments.steps["y"], [1, 2, None, None, 5, None, None, 8])
    assert segments.times is not None
    assert segments.times.astype(str).tolist()[7] == "2020-01-08T00:00:00.000000"
    gap = ledger.warnings[0]
    assert (gap.code, gap.count, gap.series, gap.row, gap.date) == ("gap", 3, "y", 2, "2020-01-02")
    assert "lacks 3 steps of 1d in 2 gaps, the first between 2020-01-02 and 2020-01-05 (after row 2)" in gap.message


def test_long_table_is_sorted_and_keeps_the_order_of_its_series() -> None:
    segments, ledger = read(
        {"ds": january(2, 1, 1, 2, 3), "id": ["b", "b", "a", "a", "a"], "y": [2.0, 1.0, 10.0, 20.0, 30.0]}, id="id"
    )
    assert segments.ids == ["b", "a"]
    assert segments.offsets.tolist() == [0, 2, 5]
    assert segments.steps["y"].tolist() == [1, 2, 10, 20, 30]
    assert "not in order of time at 1 places, first at row 2 of series 'b'; they were sorted" in ledger.notes[0].message


def test_wide_table_is_stacked() -> None:
    rows = {"ds": january(1, 2), "n-1": ["1", "2"], "n-2": ["3", ""], "k": [7, 8], "other": ["x", "y"]}
    segments, _ = read(rows, [Y, K], stack=["n-*"])
    assert segments.ids == ["n-1", "n-2"]
    assert nan_equal(segments.steps["y"], [1, 2, 3, None])
    assert segments.steps["k"].tolist() == [7, 8, 7, 8]
    with pytest.raises(PreflightError, match=r"data\.stack: no column matches 'm-\*'\. The table has: ds, n-1"):
        read(rows, stack=["m-*"])
    with pytest.raises(PreflightError, match=r"data.id is 'other' and data.stack is set"):
        read(rows, stack=["n-*"], id="other")


def test_bad_cell_of_a_wide_table_names_its_own_column() -> None:
    _, ledger = read({"ds": january(1, 2), "a": ["1", "x"], "b": ["y", "2"]}, stack=["a", "b"])
    assert [(problem.column, problem.row) for problem in ledger.errors] == [("a", 2), ("b", 1)]


def test_repeated_rows_are_dropped_and_counted() -> None:
    rows = {"ds": january(1, 2, 2, 3, 1), "y": [1.0, None, None, 3.0, 1.0]}
    segments, ledger = read(rows)
    assert nan_equal(segments.steps["y"], [1, None, 3])
    repeated = ledger.warnings[0]
    assert (repeated.code, repeated.count) == ("repeated-row", 2)
    assert repeated.message == "2 rows repeat another row exactly and were dropped: row 3, row 5."


def test_equal_dates_with_other_values_are_an_error(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("ds,id,y\n2020-01-01,a,1\n2020-01-01,b,1\n2020-01-01,a,2\n2020-01-02,a,3\n")
    settings = DataSettings.model_validate(LONG)
    with pytest.raises(PreflightError) as caught:
        read_series(read_table(file, settings), settings, [Y], Ledger(file))
    assert (
        "series 'a' has 2020-01-01 twice with different values, in row 1 (line 2 of t.csv) and "
        "row 3 (line 4 of t.csv) (1 such dates). Keep one of the rows, or name the column"
    ) in str(caught.value)


def test_clock_changes_are_recognised() -> None:
    autumn = [f"2020-10-25 {hour:02d}:00" for hour in (0, 1, 2, 2, 3)]
    with pytest.raises(
        PreflightError, match=r"2020-10-25 02:00 twice.*The clock was set back then: write the times in UTC"
    ):
        read({"ds": autumn, "y": [1, 2, 3, 4, 5]})
    spring = [f"2020-03-29 {hour:02d}:00" for hour in (0, 1, 3, 4)]
    _, ledger = read({"ds": spring, "y": [1, 2, 3, 4]})
    assert "The clock was set forward then" in ledger.warnings[0].message
    _, ledger = read({"ds": [time.replace("03-29", "03-28") for time in spring], "y": [1, 2, 3, 4]})
    assert "clock" not in ledger.warnings[0].message


def test_dates_off_the_grid_are_named() -> None:
    with pytest.raises(PreflightError) as caught:
        read({"ds": ["2020-01-06", "2020-01-13", "2020-01-20", "2020-01-28", "2020-02-03"], "y": [1, 2, 3, 4, 5]})
    assert "1 dates are not on the grid of 1w" in str(caught.value)
    assert "row 4; the first is 2020-01-28 of series 'y'" in str(caught.value)


def test_frequency_is_needed_where_it_cannot_be_found() -> None:
    rows = {"ds": january(1, 5), "id": ["a", "b"], "y": [1, 2]}
    with pytest.raises(PreflightError, match=r"no series has two dates.*Set data.frequency"):
        read(rows, id="id")
    assert read(rows, id="id", frequency="1d")[0].frequency == "1d"


def test_a_wild_date_does_not_fill_the_memory() -> None:
    hours = [f"2020-01-01 {hour:02d}:00" for hour in range(10)]
    with pytest.raises(PreflightError, match=r"a grid of 1h would have .* steps for 11 rows.*wrong date"):
        read({"ds": [*hours, "2920-01-01 00:00"], "y": list(range(11))})


def test_months_keep_their_day_or_their_end() -> None:
    segments, _ = read({"ds": ["2020-01-31", "2020-02-29", "2020-04-30"], "y": [1, 2, 4]}, frequency="1mo")
    assert segments.times is not None
    assert segments.times.astype("datetime64[D]").astype(str).tolist()[2] == "2020-03-31"
    segments, _ = read({"ds": ["2020-02-29", "2020-03-29", "2020-04-29"], "y": [1, 2, 4]})
    assert segments.frequency == "1mo"


def test_static_columns_hold_one_value_per_series() -> None:
    uses = [Y, ColumnUse("s", "text", "static"), ColumnUse("n", "number", "static")]
    rows = {
        "ds": january(1, 2, 1, 2),
        "id": list("aabb"),
        "y": [1, 2, 3, 4],
        "s": ["x", None, "y", "y"],
        "n": [None, 5, None, None],
    }
    segments, ledger = read(rows, uses, id="id")
    assert segments.static["s"].tolist() == ["x", "y"]
    assert nan_equal(segments.static["n"], [5, None])
    assert set(segments.steps) == {"y"}
    assert ledger.errors == []
    _, ledger = read({**rows, "s": ["x", "x", "y", "z"]}, uses, id="id")
    assert "static column 's' changes within series 'b': 'y' at first and 'z' in row 4" in ledger.errors[0].message


def test_missing_names_dates_and_columns() -> None:
    with pytest.raises(PreflightError, match=r"column 'id', row 2: the name of the series is missing"):
        read({"ds": january(1, 2), "id": ["a", None], "y": [1, 2]}, id="id")
    with pytest.raises(PreflightError, match=r"row 2: the date is missing"):
        read({"ds": ["2020-01-01", ""], "y": [1, 2]})
    with pytest.raises(PreflightError, match=r"there is no column 'yy'. Did you mean 'y'"):
        read({"ds": january(1, 2), "y": [1, 2]}, [ColumnUse("yy", "number", "target")])


def test_bad_cells_are_reported_together_with_bad_dates() -> None:
    with pytest.raises(PreflightError) as caught:
        read({"ds": ["2020-01-01", "x"], "y": ["one", "2"], "k": ["3", "four"]}, [Y, K])
    assert str(caught.value).startswith("3 problems stop training:")


def futures() -> Segments:
    return read(
        {
            "ds": january(1, 2, 3, 4, 1, 2, 1),
            "id": list("aaaabbc"),
            "y": [1, 2, None, None, None, None, 5],
            "k": [1, 2, 3, 4, 5, 6, 7],
        },
        [Y, K],
        id="id",
        frequency="1d",
    )[0]


def test_history_ends_where_the_last_target_was_observed() -> None:
    segments = futures()
    assert history_ends(segments, ["y"]).tolist() == [2, 0, 1]
    assert history_ends(segments, ["y", "k"]).tolist() == [4, 2, 1]


def test_extend_adds_steps_only_where_the_future_is_too_short() -> None:
    segments = futures()
    longer = extend(segments, 3, ["y"])
    assert longer.lengths.tolist() == [5, 3, 4]
    assert nan_equal(longer.steps["k"], [1, 2, 3, 4, None, 5, 6, None, 7, None, None, None])
    assert longer.times is not None
    assert longer.times.astype("datetime64[D]").astype(str).tolist()[4] == "2020-01-05"
    assert longer.times.astype("datetime64[D]").astype(str).tolist()[-1] == "2020-01-04"
    assert segments.lengths.tolist() == [4, 2, 1]
    assert extend(segments, 2, ["y"]).lengths.tolist() == [4, 2, 3]


def test_extend_continues_month_ends() -> None:
    segments, _ = read({"ds": ["2020-02-29", "2020-03-31"], "y": [1, 2]})
    times = extend(segments, 2, ["y"]).times
    assert times is not None
    assert times.astype("datetime64[D]").astype(str).tolist()[2:] == ["2020-04-30", "2020-05-31"]
    other, _ = read({"ds": ["2020-02-29", "2020-03-29"], "y": [1, 2]})
    times = extend(other, 1, ["y"]).times
    assert times is not None
    assert str(times[2])[:10] == "2020-04-29"


def test_select_takes_segments_in_the_asked_order() -> None:
    chosen = select(futures(), [2, 0])
    assert chosen.ids == ["c", "a"]
    assert chosen.offsets.tolist() == [0, 1, 5]
    assert chosen.steps["k"].tolist() == [7, 1, 2, 3, 4]
    assert len(select(futures(), [])) == 0


@limits(deadline=None, max_examples=50)
@given(
    st.dictionaries(st.tuples(st.sampled_from("abc"), st.integers(0, 60)), st.floats(-9, 9), min_size=1), st.randoms()
)
def test_every_row_is_found_again_on_the_grid(cells: dict[tuple[str, int], float], random: object) -> None:
    rows = list(cells.items())
    random.shuffle(rows)  # type: ignore[attr-defined]
    start = np.datetime64("2021-03-01")
    segments, _ = read(
        {
            "ds": [str(start + day) for (_, day), _ in rows],
            "id": [name for (name, _), _ in rows],
            "y": [y for _, y in rows],
        },
        id="id",
        frequency="1d",
    )
    assert segments.times is not None
    found = {}
    for s, name in enumerate(segments.ids):
        for step in range(segments.offsets[s], segments.offsets[s + 1]):
            if not np.isnan(segments.steps["y"][step]):
                found[name, int((segments.times[step] - start) / np.timedelta64(1, "D"))] = segments.steps["y"][step]
    assert found == cells


def test_columns_that_are_wholly_missing() -> None:
    static = ColumnUse("s", "text", "static")
    segments, _ = read({"ds": january(1, 2), "y": [1, 2], "s": ["", ""]}, [Y, static])
    assert segments.static["s"].tolist() == [None]
    with pytest.raises(PreflightError, match=r"column 'id', row 1: the name of the series is missing.*2 such rows"):
        read({"ds": january(1, 2), "y": [1, 2], "id": ["", ""]}, id="id")
