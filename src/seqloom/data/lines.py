"""Line-aligned files: line k of one belongs to line k of the other, as parallel texts are given away."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from seqloom.data.ledger import Aligned, Ledger
from seqloom.data.splits import Part
from seqloom.data.tables import nearest, text_bytes
from seqloom.errors import DataError

SPLIT = "split"  # the column that says which part a line is of


def read_lines(folder: Path, files: Mapping[Part, Mapping[str, str]], ledger: Ledger) -> pl.DataFrame:
    """One row for each line, a column for each file, the parts one below the other.

    Args:
        folder: where the files are.
        files: by part and column, the name of a file.
        ledger: where files of unequal length are entered, and told from which file and line a row is.

    Raises:
        DataError: a file is missing, empty or no text.
        PreflightError: files that belong together have unequal numbers of lines; all of them are named.
    """
    texts = {part: {c: _lines_of(folder, name) for c, name in named.items()} for part, named in files.items()}
    for part, columns in texts.items():
        _check_counts(part, files[part], {column: len(lines) for column, lines in columns.items()}, ledger)
    ledger.raise_if_errors()
    ledger.aligned = [
        Aligned(" and ".join(files[part].values()), len(next(iter(columns.values()))))
        for part, columns in texts.items()
    ]
    frames = [
        pl.DataFrame({**columns, SPLIT: [part] * len(next(iter(columns.values())))}) for part, columns in texts.items()
    ]
    frame = pl.concat(frames)
    return frame if len(texts) > 1 else frame.drop(SPLIT)


def _lines_of(folder: Path, name: str) -> list[str]:
    """The lines of a file; only a line feed ends one, whatever other signs of a new line a text may hold."""
    file = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise DataError(f"data.lines names '{name}', which leads out of the folder '{folder}'; expected a file in it.")
    if not file.is_file():
        there = sorted(entry.name for entry in folder.iterdir())
        raise DataError(f"there is no file '{file}'.{nearest(name, there)} Check data.lines and the folder.")
    if file.stat().st_size == 0:
        raise DataError(f"'{file}' is empty (0 bytes); expected one text on each line.")
    lines = text_bytes(file).decode().split("\n")
    return [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]


def _check_counts(part: str, files: Mapping[str, str], counts: Mapping[str, int], ledger: Ledger) -> None:
    """Enter a part whose files do not have as many lines as each other."""
    if len(set(counts.values())) == 1:
        return
    said = ", ".join(f"'{files[column]}' has {count:,} lines" for column, count in counts.items())
    first = min(counts.values()) + 1
    message = (
        f"data.lines.{part}: {said}; expected as many in each, since line k of one belongs to line k of the other. "
        f"From line {first:,} on some have no counterpart, and a line may have been lost before: compare the files."
    )
    ledger.add("error", "line-count", message, row=first, count=max(counts.values()) - min(counts.values()))
