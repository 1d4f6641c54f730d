"""Tables from files and frames, and what is said of broken ones."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqloom.data.settings import DataSettings
from seqloom.data.tables import locate_table, read_table, row_lines, to_polars
from seqloom.errors import DataError, UsageError

PLAIN = DataSettings()


def write(folder: Path, content: bytes | str, name: str = "t.csv") -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def test_csv_cells_are_text_as_written(tmp_path: Path) -> None:
    frame = read_table(write(tmp_path, 'a,b\n01,"x, ""y"""\n1.50,\n'), PLAIN)
    assert frame.to_dict(as_series=False) == {"a": ["01", "1.50"], "b": ['x, "y"', None]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.tsv", b"a\tb\n1\t2\n"),
        ("t.csv", b"a;b\n1;2\n"),
        ("t.csv", b"\xef\xbb\xbfa,b\r\n1,2\r\n"),
        ("t.csv", b"a,b\r1,2\r"),
        ("t.csv", b"\na,b\n\n1,2\n\n"),
        ("t.csv.gz", gzip.compress(b"a,b\n1,2\n")),
        ("T.CSV", b" a , b\n1,2"),
    ],
)
def test_ways_of_writing_the_same_table(tmp_path: Path, name: str, content: bytes) -> None:
    assert read_table(write(tmp_path, content, name), PLAIN).to_dicts() == [{"a": "1", "b": "2"}]


def test_json_lines_and_parquet_keep_their_types(tmp_path: Path) -> None:
    rows = [{"a": 1, "b": [1.5, 2.0]}, {"a": 2, "b": []}]
    pl.DataFrame(rows).write_parquet(tmp_path / "t.parquet")
    text = '{"a": 1, "b": [1.5, 2.0]}\n\n{"a": 2, "b": []}\n'
    assert read_table(tmp_path / "t.parquet", PLAIN).to_dicts() == rows
    assert read_table(write(tmp_path, text, "t.jsonl"), PLAIN).to_dicts() == rows
    assert read_table(write(tmp_path, gzip.compress(text.encode()), "t.ndjson.gz"), PLAIN).to_dicts() == rows


def test_json_lines_with_python_nan(tmp_path: Path) -> None:
    frame = read_table(write(tmp_path, '{"a": NaN}\n{"a": 2.5}\n', "t.jsonl"), PLAIN)
    assert frame["a"].is_nan().to_list() == [True, False]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", b"", "is empty (0 bytes); expected a header and rows"),
        ("t.csv", b" \n\n", "holds only blank space"),
        ("t.csv", b"a,b\n", "has 2 columns but no rows"),
        ("t.csv", b"a,b\n1,\x00\n", "has a NUL byte at byte 6"),
        ("t.csv", b"a,b\n1,caf\xe9\n", "is not UTF-8: byte 0xe9 at byte 9, line 2"),
        ("t.csv", "a,b\n1,2\n".encode("utf-16"), "is UTF-16 text; expected UTF-8"),
        ("t.csv", b"a,b\n1,2\n1,2,3\n1\n", "line 3 (row 2) has 3 cells; expected 2 as in the header (2 such lines)"),
        ("t.csv", b'a,b\n"1\n\n2",3\n\n4\n', "line 6 (row 2) has 1 cells; expected 2"),
        ("t.csv", b"x,y,x\n1,2,3\n", "names 2 columns 'x' (columns [1, 3])"),
        ("t.csv", b'a,b\n1,"2\n3,4\n', "line 2: a quote is not closed"),
        ("t.csv", b'a,b\n1,5" pipe\n3,6" pipe\n', "line 2: a quote is not closed, or stands inside a cell"),
        ("t.csv.gz", gzip.compress(b"a,b\n1,2\n")[:-6], "is not a whole gzip file"),
        ("t.xlsx", b"PK", "expected a name ending in .csv, .csv.gz, .tsv"),
        ("t.jsonl", b'{"a": 1}\n{"a": \n', "line 2 is not JSON"),
        ("t.jsonl", b'{"a": 1}\n\n[1]\n', "line 3 holds [1]; expected one object"),
        ("t.parquet", b"PAR1 no", "is not a readable Parquet file"),
    ],
)
def test_broken_files_are_named_with_their_place(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    file = write(tmp_path, content, name)
    with pytest.raises(DataError) as caught:
        read_table(file, PLAIN)
    assert said in str(caught.value)
    assert name in str(caught.value)


def test_missing_file_proposes_the_nearest_name(tmp_path: Path) -> None:
    write(tmp_path, "a\n1\n", "sales.csv")
    with pytest.raises(DataError, match=r"there is no file '.*sale\.csv'\. Did you mean 'sales\.csv'\?"):
        read_table(tmp_path / "sale.csv", PLAIN)


def test_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t.csv")
    with pytest.raises(DataError, match=r"is a pipe or device; expected a regular file"):
        read_table(tmp_path / "t.csv", PLAIN)


def test_folder_and_table_combine(tmp_path: Path) -> None:
    first = write(tmp_path, "a\n1\n", "one.csv")
    assert locate_table(tmp_path, PLAIN) == first
    second = write(tmp_path, "a\n2\n", "two.tsv")
    assert locate_table(tmp_path, DataSettings(table="two.tsv")) == second
    assert locate_table(second, DataSettings(table="one.csv")) == second
    with pytest.raises(DataError, match=r"expected exactly one table in it, found one\.csv, two\.tsv"):
        locate_table(tmp_path, PLAIN)
    with pytest.raises(DataError, match=r"found none"):
        locate_table((tmp_path / "x").mkdir() or tmp_path / "x", PLAIN)


def test_frames_and_paths_are_taken_alike(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1, 2]})
    assert to_polars(frame, PLAIN) is frame
    assert to_polars(frame.lazy(), PLAIN).equals(frame)
    assert to_polars(pd.DataFrame({"a": [1, 2]}), PLAIN).equals(frame)
    indexed = pd.DataFrame({"y": [1.0]}, index=pd.Index(["2020-01-01"], name="ds"))
    assert to_polars(indexed, PLAIN).columns == ["ds", "y"]
    assert to_polars(str(write(tmp_path, "a\n1\n")), PLAIN).to_dicts() == [{"a": "1"}]
    with pytest.raises(UsageError, match=r"data is a dict; expected a Polars or pandas frame, or a path"):
        to_polars({"a": [1]}, PLAIN)
    with pytest.raises(DataError, match=r"the frame has 1 columns but no rows"):
        to_polars(frame.clear(), PLAIN)


@pytest.mark.parametrize("cells", [["ok", None, "a\0b"], [["ok"], None, ["x", None, "a\0b"]]])
def test_a_nul_in_a_frame_or_in_parquet_is_named(cells: list[object], tmp_path: Path) -> None:
    frame = pl.DataFrame({"n": [1, 2, 3], "a": cells})
    said = r"column 'a', row 3: a text holds a NUL, which is no character"
    for data in (frame, frame.to_pandas()):
        with pytest.raises(DataError, match=f"the frame, {said}"):
            to_polars(data, PLAIN)
    frame.write_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=f"t.parquet', {said}"):
        read_table(tmp_path / "t.parquet", PLAIN)


def test_half_a_surrogate_pair_in_a_pandas_frame_is_named() -> None:
    with pytest.raises(DataError, match=r"the pandas frame cannot be read: .* surrogates not allowed"):
        to_polars(pd.DataFrame({"a": ["ok", "a\ud800"]}), PLAIN)


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=6))
def test_what_a_csv_writer_writes_is_read_back_with_its_lines(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    file = tmp_path_factory.mktemp("t") / "t.csv"
    quoted = ["a,b", *(",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows)]
    file.write_text("\n".join(quoted) + "\n", newline="")
    frame = read_table(file, PLAIN)
    assert [tuple(row) for row in frame.rows()] == rows
    starts = [1 + sum(line.count("\n") + 1 for line in quoted[:place]) for place in range(1, len(quoted))]
    lines = row_lines(file)
    assert lines is not None
    assert lines.tolist() == starts


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["t.csv", "t.tsv", "t.jsonl"]),
    st.one_of(st.binary(max_size=40), st.text('a1,;\t\n\r" {}:[]é', max_size=40).map(str.encode)),
)
def test_no_file_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes) -> None:
    file = tmp_path_factory.mktemp("t") / name
    file.write_bytes(content)
    try:
        frame = read_table(file, PLAIN)
    except DataError:
        return  # any other exception fails the test
    lines = row_lines(file)
    assert lines is not None
    assert len(lines) == frame.height
