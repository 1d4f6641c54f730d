"""The ledger: every problem found in a table, with the place where it was found.

Reading and checking write into one ledger and go on as far as they can, so that a user sees all
problems at once instead of mending them one by one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from seqloom.data.tables import row_lines
from seqloom.errors import PreflightError

Severity = Literal["error", "warning", "note"]
_SHOWN = 20


@dataclass(frozen=True)
class Problem:
    """One finding: an `error` stops training, a `warning` deserves a look, a `note` says what was done.

    Attributes:
        severity: error, warning or note.
        code: short name of the kind of problem, such as `gap` or `bad-number`.
        message: what was found, what was expected and what to do.
        column: column concerned, if one.
        series: series concerned, if one.
        row: first row concerned, counted from 1 without the header, if one.
        date: first date concerned, if one.
        count: how many cells, rows or steps are concerned.
    """

    severity: Severity
    code: str
    message: str
    column: str | None = None
    series: str | None = None
    row: int | None = None
    date: str | None = None
    count: int = 1


class Aligned(NamedTuple):
    """Files that were read line by line, side by side: their names, and how many rows that made."""

    names: str
    rows: int


class Ledger:
    """A growing list of problems; `source` is the file that rows are counted in, where there is one.

    `aligned` are the files whose lines became rows, in the order of the rows, where there is no such single file;
    `stopped` is what errors stop.
    """

    def __init__(self, source: Path | None = None) -> None:
        self.source = source
        self.aligned: Sequence[Aligned] = ()
        self.stopped = "training"
        self.problems: list[Problem] = []

    def add(
        self,
        severity: Severity,
        code: str,
        message: str,
        *,
        column: str | None = None,
        series: str | None = None,
        row: int | None = None,
        date: str | None = None,
        count: int = 1,
    ) -> None:
        """Enter one problem; the message is kept as given."""
        self.problems.append(Problem(severity, code, message, column, series, row, date, count))

    @property
    def errors(self) -> list[Problem]:
        """Problems that stop training."""
        return [problem for problem in self.problems if problem.severity == "error"]

    @property
    def warnings(self) -> list[Problem]:
        """Problems that deserve a look."""
        return [problem for problem in self.problems if problem.severity == "warning"]

    @property
    def notes(self) -> list[Problem]:
        """What was done to the data, and what is worth knowing."""
        return [problem for problem in self.problems if problem.severity == "note"]

    def at(self, row: int) -> str:
        """`row` in words, with the file and line it stands on where they are known."""
        line = row
        for names, rows in self.aligned:
            if line <= rows:
                return f"row {row} (line {line} of {names})"
            line -= rows
        if self._lines is None or self.source is None or row > len(self._lines):
            return f"row {row}"
        return f"row {row} (line {self._lines[row - 1]} of {self.source.name})"

    def at_rows(self, rows: Iterable[int]) -> str:
        """The first few of `rows` in words and how many more there are."""
        every = [int(row) for row in rows]
        text = ", ".join(self.at(row) for row in every[:4])
        return text + (f" and {len(every) - 4} more" if len(every) > 4 else "")

    def to_text(self, limit: int | None = None) -> str:
        """Plain text, errors first, at most `limit` problems."""
        ordered = [*self.errors, *self.warnings, *self.notes]
        lines = [f"{problem.severity}: {problem.message}" for problem in islice(ordered, limit)]
        if len(ordered) > len(lines):
            lines.append(f"... and {len(ordered) - len(lines)} more")
        return "\n".join(lines)

    def to_json(self) -> str:
        """A JSON list with one object per problem, in the order they were found."""
        return json.dumps([asdict(problem) for problem in self.problems], indent=2, ensure_ascii=False)

    def raise_if_errors(self) -> None:
        """Raise a PreflightError that lists the first errors, if there are any."""
        errors = self.errors
        if not errors:
            return
        lines = [f"  {number}. {problem.message}" for number, problem in enumerate(errors[:_SHOWN], 1)]
        if len(errors) > _SHOWN:
            lines.append(f"  ... and {len(errors) - _SHOWN} more")
        said = "1 problem stops" if len(errors) == 1 else f"{len(errors)} problems stop"
        where = f" in '{self.source}'" if self.source else ""
        raise PreflightError("\n".join([f"{said} {self.stopped}{where}:", *lines]))

    @cached_property
    def _lines(self) -> npt.NDArray[np.int64] | None:
        # Read only when a message needs it: most tables are never in trouble.
        if self.source is None or not self.source.is_file():
            return None
        return row_lines(self.source)
