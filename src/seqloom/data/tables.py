"""Reading a table from a file or a frame, and saying exactly where a broken file breaks.

Cells of CSV and TSV files are all read as text: which of them are numbers or dates is decided where
a column is used, so that a bad cell can be named with its row. Lines that are entirely blank are no
rows; every other line of a text table is one.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import json
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from seqloom.data.settings import DataSettings
from seqloom.errors import DataError, UsageError

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".parquet")
_ODD_ESCAPE = re.compile(rb"\\u(?:[dD][89a-fA-F][0-9a-fA-F]{2}|0000)")
_QUOTE, _NEWLINE, _RETURN = b'"\n\r'


def locate_table(data: Path, settings: DataSettings) -> Path:
    """The table that `data` (a file, or a folder holding `settings.table`) stands for."""
    if not data.is_dir():
        return data
    if settings.table is not None:
        if Path(settings.table).is_absolute() or ".." in Path(settings.table).parts:
            raise DataError(
                f"data.table is '{settings.table}', which leads out of the folder '{data}'; expected the name of a "
                "table inside it. Move the table there, or name the file itself."
            )
        return data / settings.table
    tables = sorted(entry for entry in data.iterdir() if _suffix(entry) and not entry.is_dir())
    if len(tables) == 1:
        return tables[0]
    found = ", ".join(entry.name for entry in tables[:8]) or "none"
    raise DataError(
        f"'{data}' is a folder and data.table is not set; expected exactly one table in it, found {found}. "
        f"Name the file itself, or set data.table. Tables end in {', '.join(SUFFIXES)}."
    )


def read_table(path: Path, settings: DataSettings) -> pl.DataFrame:
    """Read the table at `path`, or the one inside it where `path` is a folder.

    Raises:
        DataError: the file is missing, empty, damaged or of an unknown kind.
    """
    file = locate_table(Path(path), settings)
    _require_file(file)
    suffix = _suffix(file)
    if suffix is None:
        raise DataError(f"'{file}' cannot be read as a table: expected a name ending in {', '.join(SUFFIXES)}.")
    frame = _read_parquet(file) if suffix == ".parquet" else _read_text(file, suffix)
    if frame.height == 0:
        raise DataError(f"'{file}' has {frame.width} columns but no rows; expected at least one row of data.")
    return frame


def to_polars(data: object, settings: DataSettings) -> pl.DataFrame:
    """`data` as a Polars frame; it may be one already, a pandas frame, or the path of a table."""
    if isinstance(data, str | Path):
        return read_table(Path(data), settings)
    if isinstance(data, pl.LazyFrame):
        data = data.collect()
    elif type(data).__module__.partition(".")[0] == "pandas":
        data = _from_pandas(data)
    if not isinstance(data, pl.DataFrame):
        raise UsageError(f"data is a {type(data).__name__}; expected a Polars or pandas frame, or a path.")
    if data.height == 0:
        raise DataError(f"the frame has {data.width} columns but no rows; expected at least one row of data.")
    _refuse_nul(data, "the frame")
    return data


def row_lines(path: Path) -> npt.NDArray[np.int64] | None:
    """Line of the file on which each row starts, both counted from 1; None where rows have no lines."""
    suffix = _suffix(path)
    if suffix is None or suffix == ".parquet":
        return None
    data = text_bytes(path)
    if suffix.startswith((".jsonl", ".ndjson")):
        return np.array([n for n, line in enumerate(data.split(b"\n"), 1) if line.strip()], dtype=np.int64)
    lines = _scan(data, _separator(data, suffix)).lines
    return lines[1:]


def nearest(name: str, names: list[str]) -> str:
    """A sentence proposing the most similar of `names`, or nothing where none is similar."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""


def _suffix(path: Path) -> str | None:
    name = path.name.lower()
    return max((suffix for suffix in SUFFIXES if name.endswith(suffix)), key=len, default=None)


def _require_file(file: Path) -> None:
    if not file.exists():
        siblings = [entry.name for entry in file.parent.iterdir()] if file.parent.is_dir() else []
        raise DataError(f"there is no file '{file}'.{nearest(file.name, siblings)} Check data.table and the path.")
    if file.is_dir():
        raise DataError(f"'{file}' is a folder; expected a table, a file ending in {', '.join(SUFFIXES)}.")
    if not file.is_file():
        raise DataError(f"'{file}' is a pipe or device; expected a regular file. Save its content to a file first.")
    if file.stat().st_size == 0:
        raise DataError(f"'{file}' is empty (0 bytes); expected a header and rows. Write the table again.")


def _from_pandas(data: object) -> object:
    try:
        named_index = any(name is not None for name in data.index.names)  # type: ignore[attr-defined]
        return pl.from_pandas(data, include_index=named_index)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:  # ArrowInvalid is a ValueError
        raise DataError(
            f"the pandas frame cannot be read: {error}. Give every column one type and a name that is text."
        ) from error


def _read_parquet(file: Path) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"'{file}' is not a readable Parquet file: {error}. Write it again.") from error
    _refuse_nul(frame, f"'{file}'")
    return frame


def _refuse_nul(frame: pl.DataFrame, place: str) -> None:
    """Raise where a text holds a NUL, as for tables that are text: what is answered could not be read from a file."""
    for column in frame:
        listed = column.dtype == pl.List(pl.String)
        texts = column.explode() if listed else column
        if texts.dtype != pl.String or not texts.str.contains("\0", literal=True).any():
            continue
        cells = column.list.join("") if listed else column
        row = int(cells.str.contains("\0", literal=True).fill_null(False).arg_true()[0]) + 1
        raise DataError(
            f"{place}, column '{column.name}', row {row}: a text holds a NUL, which is no character. Leave that out."
        )


def _read_text(file: Path, suffix: str) -> pl.DataFrame:
    data = text_bytes(file)
    if suffix.startswith((".jsonl", ".ndjson")):
        return _read_json_lines(data, file)
    return _read_separated(data, file, _separator(data, suffix))


def text_bytes(file: Path) -> bytes:
    """The whole file as UTF-8 bytes without byte order mark, checked."""
    data = file.read_bytes()
    if file.name.lower().endswith(".gz"):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"'{file}' is not a whole gzip file: {error}. Compress it again.") from error
    return _checked(data, file)


def _checked(data: bytes, file: Path) -> bytes:
    """Bytes that are UTF-8 text, without byte order mark."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"'{file}' is UTF-16 text; expected UTF-8. Save it as UTF-8 (`iconv -f UTF-16 -t UTF-8`).")
    if (zero := data.find(b"\0")) >= 0:
        raise DataError(f"'{file}' has a NUL byte at byte {zero}; expected text. Is it damaged, or not a table?")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"'{file}' is not UTF-8: byte 0x{data[error.start]:02x} at byte {error.start}, line {line}. "
            "Convert it, for example with `iconv -f LATIN1 -t UTF-8`."
        ) from error
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        raise DataError(f"'{file}' holds only blank space; expected rows of data. Write the table again.")
    # Files of the old Macintosh end their lines with a carriage return alone.
    return data if b"\n" in data else data.replace(b"\r", b"\n")


def _separator(data: bytes, suffix: str) -> str:
    if suffix.startswith(".tsv"):
        return "\t"
    header = data[: data.find(b"\n") % (len(data) + 1)]
    return max(",;\t", key=lambda mark: header.count(mark.encode()))


@dataclass(frozen=True)
class _Scan:
    """Where each record of a separated text starts, the header included and blank lines left out."""

    lines: npt.NDArray[np.int64]
    cells: npt.NDArray[np.int64]
    blank: npt.NDArray[np.bool_]  # over all records, so that rows read from blank lines can be removed
    header: slice  # bytes of the first record
    stray_quote: int | None  # line of the first quote that neither opens nor closes a cell


def _scan(data: bytes, separator: str) -> _Scan:
    text = np.frombuffer(data, dtype=np.uint8)
    is_quote = text == _QUOTE
    inside = np.logical_xor.accumulate(is_quote)
    newlines = np.flatnonzero(text == _NEWLINE)
    breaks = newlines[~inside[newlines]]
    separators = np.flatnonzero((text == ord(separator)) & ~inside)
    starts = np.concatenate([[0], breaks + 1])
    ends = np.concatenate([breaks, [len(text)]])
    starts, ends = (starts[:-1], ends[:-1]) if starts[-1] == len(text) else (starts, ends)
    blank = (ends == starts) | ((ends == starts + 1) & (text[starts] == _RETURN))
    cells = 1 + np.searchsorted(separators, ends) - np.searchsorted(separators, starts)
    lines = 1 + np.searchsorted(newlines, starts)
    stray = _stray_quote(text, is_quote & inside, separator, unclosed=bool(inside[-1]))
    line = None if stray is None else 1 + int(np.searchsorted(newlines, stray))
    first = int(np.argmin(blank))
    header = slice(int(starts[first]), int(ends[first]))
    return _Scan(lines[~blank].astype(np.int64), cells[~blank], blank, header, line)


def _stray_quote(
    text: npt.NDArray[np.uint8], opens: npt.NDArray[np.bool_], separator: str, *, unclosed: bool
) -> int | None:
    """Position of the first quote that opens where no cell starts, or is never closed."""
    places = np.flatnonzero(opens)
    before = text[np.maximum(places - 1, 0)]
    lawful = (places == 0) | np.isin(before, [ord(separator), _NEWLINE, _QUOTE])
    strays = places[~lawful]
    if strays.size:
        return int(strays[0])
    return int(places[-1]) if unclosed else None


def _read_separated(data: bytes, file: Path, separator: str) -> pl.DataFrame:
    scan = _scan(data, separator)
    if scan.stray_quote is not None:
        raise DataError(
            f"'{file}', line {scan.stray_quote}: a quote is not closed, or stands inside a cell that is not quoted. "
            'Close it, or write the cell as "5"" pipe": quotes around it and doubled within.'
        )
    names = _header(data[scan.header].decode(), file, separator)
    wrong = np.flatnonzero(scan.cells != len(names))
    if wrong.size:
        row, line, cells = int(wrong[0]), int(scan.lines[wrong[0]]), int(scan.cells[wrong[0]])
        raise DataError(
            f"'{file}', line {line} (row {row}) has {cells} cells; expected {len(names)} as in the header "
            f"({wrong.size} such lines). Quote cells that hold '{separator}', or mend the line."
        )
    try:
        frame = pl.read_csv(
            io.BytesIO(data.lstrip(b"\r\n")),
            has_header=False,
            new_columns=names,
            separator=separator,
            infer_schema=False,
        )
    except pl.exceptions.PolarsError as error:
        raise DataError(f"'{file}' cannot be read as a table: {error}.") from error
    return frame.filter(pl.Series(~scan.blank[np.argmin(scan.blank) :]))[1:]


def _header(record: str, file: Path, separator: str) -> list[str]:
    try:
        names = [name.strip() for name in next(csv.reader(io.StringIO(record, newline=""), delimiter=separator))]
    except csv.Error as error:
        raise DataError(f"the header of '{file}' cannot be read: {error}. Write the names on one line.") from error
    # A frame's index written by other tools leaves its header blank.
    names = [name or f"column_{place}" for place, name in enumerate(names, 1)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        places = [place for place, name in enumerate(names, 1) if name == twice[0]]
        raise DataError(
            f"'{file}' names {len(places)} columns '{twice[0]}' (columns {places}); expected different names."
        )
    return names


def read_json_lines(data: bytes, source: str) -> pl.DataFrame:
    """The table in JSON lines that came from elsewhere than a file; `source` says from where, for errors.

    Raises:
        DataError: they are empty, or no such lines; names the line.
    """
    place = Path(source)
    if not data:
        raise DataError(f"'{place}' is empty (0 bytes); expected one JSON object on each line")
    return _read_json_lines(_checked(data, place), place)


def _read_json_lines(data: bytes, file: Path) -> pl.DataFrame:
    _check_escapes(data, file)
    try:
        return pl.read_ndjson(io.BytesIO(data), infer_schema_length=None)
    except pl.exceptions.PolarsError:
        # Slower, but it names the bad line, and reads the NaN that Python's json writes.
        return _read_json_slowly(data, file)


def _check_escapes(data: bytes, file: Path) -> None:
    """Escapes of what is no character, which the fast reader would take for something else without a word.

    Half of a surrogate pair stands for nothing by itself, and a NUL ends texts elsewhere.
    """
    if not _ODD_ESCAPE.search(data):
        return
    for number, line in enumerate(data.split(b"\n"), 1):
        if not _ODD_ESCAPE.search(line):
            continue
        try:
            said = _texts_within(json.loads(line))
        except json.JSONDecodeError:
            return  # named by the slow reader
        odd = next((mark for mark in said if mark == "\0" or "\ud800" <= mark <= "\udfff"), None)
        if odd is not None:
            kind = "a NUL" if odd == "\0" else "half of a surrogate pair"
            raise DataError(
                f"'{file}', line {number}: a text holds \\u{ord(odd):04x}, {kind}, which is no character. Write the "
                "text again as UTF-8, and leave that out."
            )


def _texts_within(value: object) -> str:
    """All texts in a JSON value, one after the other."""
    if isinstance(value, dict):
        return "".join(map(_texts_within, [*value, *value.values()]))
    if isinstance(value, list):
        return "".join(map(_texts_within, value))
    return value if isinstance(value, str) else ""


def _read_json_slowly(data: bytes, file: Path) -> pl.DataFrame:
    records = []
    for number, line in enumerate(data.decode().split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"'{file}', line {number} is not JSON: {error}. Expected one object per line.") from error
        if not isinstance(record, dict):
            raise DataError(f"'{file}', line {number} holds {line.strip()[:40]}; expected one object {{...}} per line.")
        records.append(record)
    try:
        return pl.from_dicts(records, infer_schema_length=None)
    except (pl.exceptions.PolarsError, TypeError) as error:
        raise DataError(f"'{file}': the lines do not agree on a column's type: {error}. Give it one type.") from error
