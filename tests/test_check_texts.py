"""`seqloom check` on tables of texts, labels and sessions: every problem with its rows, before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from flows import Outcome

Cli = Callable[..., Outcome]
MOODS = {"inputs": {"text": {"kind": "text"}}, "outputs": {"mood": {"kind": "category"}}}
REPLIES = {"inputs": {"german": {"kind": "text"}}, "outputs": {"english": {"kind": "text", "tokens": "word"}}}
SESSIONS = {"inputs": {"item": {"kind": "items"}}, "outputs": {"next": {"kind": "items", "columns": ["item"]}}}
TAGS = {"inputs": {"text": {"kind": "text"}}, "outputs": {"topics": {"kind": "tags"}}}


def table(**changes: dict[int, Any]) -> pl.DataFrame:
    """40 rows, of which 30 train; `changes` by column and row, counted from 1."""
    columns: dict[str, list[Any]] = {
        "text": [f"text number {k}" for k in range(1, 41)],
        "mood": ["glad", "sad"] * 20,
        "german": [f"wort{k % 3} satz {k}" for k in range(1, 41)],
        "english": [f"word{k % 3} sentence" for k in range(1, 41)],
        "item": [[f"i{k % 5}", f"i{(k + 1) % 5}"] for k in range(1, 41)],
        "topics": ["a;b", "b"] * 20,
        "split": ["train"] * 30 + ["valid"] * 5 + ["test"] * 5,
    }
    for column, cells in changes.items():
        for row, value in cells.items():
            columns[column][row - 1] = value
    return pl.DataFrame(columns)


def checked(cli: Cli, folder: Path, recipe: dict[str, Any], frame: pl.DataFrame) -> list[dict[str, Any]]:
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"data": {"split": {"column": "split"}}, **recipe}))
    frame.write_ndjson(folder / "table.jsonl")
    found = cli("check", folder / "recipe.yaml", "--data", folder / "table.jsonl", "--json")
    assert found.code == 0, found.err
    problems: list[dict[str, Any]] = json.loads(found.out)
    return problems


@pytest.mark.parametrize(
    ("recipe", "changes", "code", "row", "count", "said"),
    [
        (MOODS, {"text": {7: "", 9: None}}, "empty-text", 7, 2, "row 7 (line 7 of table.jsonl), row 9 (line 9"),
        (MOODS, {"mood": {4: "od"}}, "label-once", 4, 1, "'od', first in row 4 (line 4 of table.jsonl)"),
        (MOODS, {"mood": {38: "new", 39: "new"}}, "untaught-label", 38, 2, "'new' (2), first in row 38"),
        (MOODS, {"text": {36: "text  NUMBER 3"}}, "repeated-example", 36, 1, "first row 36 (line 36 of table.jsonl)"),
        (MOODS, {"mood": {5: None}}, "missing-target", 5, 1, "row 5"),
        (REPLIES, {"german": {2: " "}}, "empty-text", 2, 1, "row 2"),
        (REPLIES, {"english": {33: "word0 neverseen"}}, "untaught-token", 33, 1, "1 of 80 tokens are not among the"),
        (TAGS, {"topics": {31: "a;zebra"}}, "untaught-label", 31, 1, "such as 'zebra', in row 31"),
        (SESSIONS, {"item": {3: ["i1"]}}, "single-item", 3, 1, "row 3"),
        (SESSIONS, {"item": {37: ["i1", "i9"]}}, "untaught-item", 37, 1, "'i9' in row 37"),
    ],
)  # fmt: skip
def test_a_problem_is_named_with_its_row(
    recipe: dict[str, Any],
    changes: dict[str, dict[int, Any]],
    code: str,
    row: int,
    count: int,
    said: str,
    tmp_path: Path,
    cli: Cli,
) -> None:
    assert code not in {p["code"] for p in checked(cli, tmp_path, recipe, table())}, "a clean table has no such problem"
    (problem,) = [p for p in checked(cli, tmp_path, recipe, table(**changes)) if p["code"] == code]
    assert (problem["row"], problem["count"]) == (row, count), problem
    assert said in problem["message"]


def test_a_wrong_encoding_is_named_with_its_byte(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"data": {}, **MOODS}))
    (tmp_path / "table.csv").write_bytes("text,mood\ngut,glad\nschön,glad\n".encode("latin-1"))
    found = cli("check", tmp_path / "recipe.yaml", "--data", tmp_path / "table.csv")
    assert found.code == 1
    assert "table.csv' is not UTF-8: byte 0xf6 at byte 22, line 3" in found.err


# line-aligned files

ALIGNED = {"train": {"german": "train.de", "english": "train.en"}, "test": {"german": "new.de", "english": "new.en"}}


def aligned(folder: Path, lines: dict[str, Any] | None = None, **files: bytes) -> Path:
    """A folder with two files for each of two parts, and a recipe that reads them."""
    german, english = ("".join(f"{word} {k % 4}\n" for k in range(12)).encode() for word in ("wort", "word"))
    content = {"train.de": german, "train.en": english, "new.de": b"neu\nwort 1\n", "new.en": b"new\nword 1\n"}
    folder.mkdir(exist_ok=True)
    for name, data in {**content, **{n.replace("_", "."): d for n, d in files.items()}}.items():
        (folder / name).write_bytes(data)
    recipe = {"data": {"lines": lines or ALIGNED, "split": {"column": "split", "valid": 0}}, **REPLIES}
    (folder.parent / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    return folder


def test_lines_that_have_no_counterpart_are_named(tmp_path: Path, cli: Cli) -> None:
    folder = aligned(tmp_path / "data", train_en=b"word\n" * 10, new_de=b"a\nb\nc\n")
    found = cli("check", tmp_path / "recipe.yaml", "--data", folder)
    assert found.code == 1
    assert "2 problems stop training" in found.err
    assert "data.lines.train: 'train.de' has 12 lines, 'train.en' has 10 lines; expected as many in each" in found.err
    assert "From line 11 on some have no counterpart" in found.err
    assert "data.lines.test: 'new.de' has 3 lines, 'new.en' has 2 lines" in found.err
    assert cli("train", tmp_path / "recipe.yaml", "--data", folder, "-o", tmp_path / "run").code == 1
    assert not (tmp_path / "run").exists()


def test_problems_name_the_file_and_its_line(tmp_path: Path, cli: Cli) -> None:
    folder = aligned(tmp_path / "data", new_de=b"neu\n\n", new_en="new\nword ä\n".encode())
    found = cli("check", tmp_path / "recipe.yaml", "--data", folder)
    assert found.code == 0, found.err
    assert "1 empty texts: row 14 (line 2 of new.de and new.en)" in found.out
    assert "tokens are not among" in found.out


def test_only_a_line_feed_ends_a_line(tmp_path: Path, cli: Cli) -> None:
    """Other signs of a new line may stand in a text; a last line may or may not be ended; line ends may be those of
    another system."""
    folder = aligned(tmp_path / "data", new_de="a\u2028b\x0bc\nd".encode(), new_en=b"x y\r\nz\r\n")
    found = cli("train", tmp_path / "recipe.yaml", "--data", folder, "-o", tmp_path / "run", "training.steps=1")
    assert found.code == 0, found.err
    assert cli("evaluate", tmp_path / "run").code == 0
    scored = pl.read_csv(tmp_path / "run" / "predictions" / "english.csv")
    assert scored["y"].to_list() == ["x y", "z"]
    assert scored["german"].to_list() == ["a\u2028b\x0bc", "d"]
    answers = tmp_path / "answers.csv"
    (tmp_path / "more.jsonl").write_text('{"german": "wort 1"}\n')
    assert cli("predict", tmp_path / "run", "--data", tmp_path / "more.jsonl", "-o", answers).code == 0


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train_de": b""}, "train.de' is empty (0 bytes); expected one text on each line."),
        ({"new_en": b"ok\nsch\xf6n\n"}, "new.en' is not UTF-8: byte 0xf6 at byte 6, line 2."),
        ({"new_en": b"a\0\nb\n"}, "new.en' has a NUL byte at byte 1"),
    ],
)
def test_what_is_no_text_is_named(files: dict[str, bytes], message: str, tmp_path: Path, cli: Cli) -> None:
    folder = aligned(tmp_path / "data", **files)
    found = cli("check", tmp_path / "recipe.yaml", "--data", folder)
    assert found.code == 1
    assert message in found.err


def test_a_missing_file_proposes_the_nearest_name(tmp_path: Path, cli: Cli) -> None:
    folder = aligned(tmp_path / "data", {**ALIGNED, "test": {"german": "news.de", "english": "new.en"}})
    found = cli("check", tmp_path / "recipe.yaml", "--data", folder)
    assert found.code == 1
    assert "news.de'. Did you mean 'new.de'? Check data.lines and the folder." in found.err
    folder = aligned(tmp_path / "data", {**ALIGNED, "test": {"german": "../new.de", "english": "new.en"}})
    found = cli("check", tmp_path / "recipe.yaml", "--data", folder)
    assert "data.lines names '../new.de', which leads out of the folder" in found.err


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"lines": {"test": {"a": "b"}}}, "lines has the parts test; expected train among them"),
        ({"lines": {"train": {"a": "b"}, "test": {"c": "d"}}}, "lines.test has the columns ['c'], train ['a']"),
        ({"lines": {"train": {}}}, "lines.train has the columns [], train []"),
        ({"lines": {"train": {"a": "b"}}, "time": "when"}, "lines are examples, one row for each line; leave time out"),
        ({"lines": {"train": {"a": "b"}, "test": {"a": "d"}}}, "lines has several parts; set split: {column: split}"),
        ({"lines": {"dev": {"a": "b"}}}, "data.lines.dev"),
    ],
)
def test_lines_that_do_not_fit_are_refused(data: dict[str, Any], message: str, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"data": data, **REPLIES}))
    found = cli("check", tmp_path / "recipe.yaml", "--data", tmp_path)
    assert found.code == 2
    assert message in found.err, found.err


def test_one_part_alone_is_divided_by_share(tmp_path: Path, cli: Cli) -> None:
    folder = aligned(tmp_path / "data")
    recipe = {"data": {"lines": {"train": ALIGNED["train"]}}, **REPLIES}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    found = cli("check", tmp_path / "recipe.yaml", "--data", folder)
    assert found.code == 0, found.err
