"""`RunFiles`: what a run directory holds, each part None where it is not there (yet).

A file that is there but cannot be read never stops the report: it is named among the problems.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from seqloom.errors import RunDirectoryError
from seqloom.training.journal import read_log

if TYPE_CHECKING:
    import polars as pl

Part = TypeVar("Part")
SERIES_COLUMNS = frozenset({"unique_id", "ds"})
WRITTEN = "greedy"  # a column that only written texts have
STOOD = "start_byte"  # one that only stretches of a text have
NUMBERS = r"step|p|p-.*|(lo|hi)-\d+|rank(-of-\d+)?|candidates|log-p|score(-\d+)?|(start|end)(_byte)?"


@dataclass(frozen=True)
class Output:
    """One answer of the model: its kind, scores and predictions.

    Attributes:
        name: as in the recipe.
        kind: name of a file in `seqloom/outputs`.
        scores: its part of `metrics.json`, empty before evaluation.
        predictions: rows of `predictions/NAME.csv`.
        rivals: rows of `predictions/NAME.RIVAL.csv`, by rival.
        of: ` of NAME` where the model has several outputs, else nothing; the end of a title.
    """

    name: str
    kind: str
    scores: Mapping[str, Any]
    predictions: pl.DataFrame | None
    rivals: Mapping[str, pl.DataFrame]
    of: str = ""


@dataclass(frozen=True)
class RunFiles:
    """The parts of a run directory; `problems` names the files that could not be read."""

    path: Path
    outputs: tuple[Output, ...]
    metrics: Mapping[str, Any] | None
    history: pl.DataFrame | None
    coming: pl.DataFrame | None
    log: tuple[Mapping[str, Any], ...] | None
    ledger: tuple[Mapping[str, Any], ...] | None
    explanation: str | None
    recipe: str | None
    environment: Mapping[str, Any] | None
    doctor: Mapping[str, Any] | None
    gates: Mapping[str, Any] | None
    attention: Mapping[str, Any] | None
    problems: tuple[str, ...]


class _Reader:
    """Reads files of one directory and remembers which could not be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[str] = []

    def read(self, name: str, parse: Callable[[Path], Part | None]) -> Part | None:
        file = self.path / name
        if not file.is_file():
            return None
        try:
            return parse(file)
        except Exception as error:  # any damage is reported on the page, whatever it is
            first_line = (str(error).splitlines() or [type(error).__name__])[0]
            self.problems.append(f"{name} cannot be read: {first_line}")
            return None


def read_run(path: Path) -> RunFiles:
    """Read all parts of a run directory.

    Raises:
        RunDirectoryError: `path` is not a directory.
    """
    if not path.is_dir():
        raise RunDirectoryError(f"{path} is not a run directory; expected one written by `seqloom train -o RUN`.")
    reader = _Reader(path)
    metrics = reader.read("metrics.json", _object)
    ledger = reader.read("ledger.json", _object)
    return RunFiles(
        path=path,
        outputs=tuple(_outputs(reader, metrics or {})),
        metrics=metrics,
        history=reader.read("history.csv", partial(_table, needed=SERIES_COLUMNS | {"y"})),
        coming=reader.read("forecast.csv", partial(_table, needed=SERIES_COLUMNS | {"cutoff", "y_hat"})),
        log=reader.read("log.jsonl", _rows),
        ledger=None if ledger is None else tuple(ledger.get("problems", [])),
        explanation=reader.read("explain.txt", _text),
        recipe=reader.read("recipe.full.yaml", _text) or reader.read("recipe.yaml", _text),
        environment=reader.read("environment.json", _object),
        doctor=reader.read("doctor.json", _object),
        gates=reader.read("gates.json", _object),
        attention=reader.read("attention.json", _object),
        problems=tuple(reader.problems),
    )


def _outputs(reader: _Reader, metrics: Mapping[str, Any]) -> list[Output]:
    scores: Mapping[str, Any] = metrics.get("outputs", {})
    stems = sorted(file.stem for file in (reader.path / "predictions").glob("*.csv"))
    tables = {stem: reader.read(f"predictions/{stem}.csv", _table) for stem in stems}
    rival_of = {stem: stem.rsplit(".", 1) for stem in stems if stem.rsplit(".", 1)[0] in {*stems, *scores} - {stem}}
    names = [*scores, *(stem for stem in stems if stem not in scores and stem not in rival_of)]
    return [
        Output(
            name=name,
            kind=scores.get(name, {}).get("kind") or _kind(tables.get(name)),
            scores=scores.get(name, {}),
            predictions=tables.get(name),
            rivals={
                rival: frame
                for stem, (owner, rival) in rival_of.items()
                if owner == name and (frame := tables[stem]) is not None
            },
            of=f" of {name}" if len(names) > 1 else "",
        )
        for name in names
    ]


def _kind(frame: pl.DataFrame | None) -> str:
    """The kind of an output that is not evaluated yet, from the columns of its predictions."""
    columns = [] if frame is None else frame.columns
    if "cutoff" in columns:
        return "forecast"
    if "item-1" in columns:
        return "items"
    if "p-liked" in columns and "item" in columns:
        return "liked"
    if WRITTEN in columns:
        return "text"
    if STOOD in columns:
        return "span"
    return "category" if any(column.startswith("p-") for column in columns) else "number"


def _object(file: Path) -> dict[str, Any]:
    value = json.loads(file.read_text("utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found a {type(value).__name__}")
    return value


def _rows(file: Path) -> tuple[dict[str, Any], ...]:
    return tuple(read_log(file.parent))


def _text(file: Path) -> str:
    return file.read_text("utf-8")


def _table(file: Path, needed: frozenset[str] = frozenset()) -> pl.DataFrame | None:
    """CSV with finite numbers as floats and all else (ids, dates, labels, texts) as text; None without rows."""
    import polars as pl

    frame = pl.read_csv(file, infer_schema=False)
    if absent := sorted(needed - set(frame.columns)):
        raise ValueError(f"it has the columns {', '.join(frame.columns)} and lacks {', '.join(absent)}")
    words = {WRITTEN, STOOD} & set(frame.columns) or any(name.startswith("p-") for name in frame.columns)
    numbers = NUMBERS if words else rf"y|y_hat|{NUMBERS}"
    values = pl.col([name for name in frame.columns if re.fullmatch(numbers, name)]).cast(pl.Float64, strict=False)
    parsed = frame.with_columns(pl.when(values.is_finite()).then(values))
    return None if parsed.is_empty() else parsed
