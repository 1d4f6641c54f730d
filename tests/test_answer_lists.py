"""Lists as a user asks for answers through a file or a pipe, and truths that training never showed."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows import Outcome
from seqloom.data.ledger import Ledger
from seqloom.dataset import read_dataset
from seqloom.recipe import parse_recipe
from seqloom.trained import Trained, fit

Cli = Callable[..., Outcome]
WORDS = pl.DataFrame({"word": [["a", "b"], ["b"], ["c", "a"]] * 4, "tag": [["X", "Y"], ["Y"], ["Z", "X"]] * 4})
READ = {"word": {"kind": "items", "size": 4}}
OUTPUTS = {
    "items": {"next": {"kind": "items", "columns": ["word"], "top": 2}},
    "labels": {"tag": {"kind": "labels"}},
}


def made(inputs: dict[str, Any], outputs: dict[str, Any], frame: pl.DataFrame, **data: Any) -> Trained:
    document = {"inputs": inputs, "outputs": outputs, "data": data, "core": {"hidden_size": 4}}
    return fit(parse_recipe({**document, "training": {"steps": 1}}), frame)


@pytest.fixture(scope="module", params=list(OUTPUTS))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("lists") / f"{request.param}.seqloom"
    made(READ, OUTPUTS[request.param], WORDS).save(place)
    return place


def ask(cli: Cli, model: Path, data: bytes, door: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    if door == "pipe":
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        return cli("predict", model)
    (place / "in.jsonl").write_bytes(data)
    return cli("predict", model, "--data", place / "in.jsonl")


@pytest.mark.parametrize("door", ["pipe", "file"])
def test_lists_go_in_and_rows_come_out(
    door: str, model: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = '{"word": ["a", "b"]}\n{"word": []}\n{"word": ["☹", null]}\n'.encode()
    found = ask(cli, model, data, door, tmp_path, monkeypatch)
    assert found.code == 0, found.err
    rows = [json.loads(line) for line in found.out.replace("} {", "}\n{").splitlines()]
    steps = {"items": [("1", 2), ("2", 0), ("3", 2)], "labels": [("1", 1), ("1", 2), ("3", 1), ("3", 2)]}
    assert [(row["id"], row["step"]) for row in rows] == steps[model.stem]
    assert "column 'word' has 1 empty lists: row 2" in found.err
    assert ("output 'tag' has no answer to 1 of 3 rows" in found.err) == (model.stem == "labels")


@pytest.mark.parametrize("door", ["pipe", "file"])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty (0 bytes); expected "),
        (b'{"word": ["a", "b\xff"]}\n', "is not UTF-8: byte 0xff at byte 17, line 1"),
        (b'{"word": ["a", "b\0"]}\n', "has a NUL byte at byte 17"),
        (b'{"word": ["a"]}\n{"word": ["a", "b\\ud800"]}\n', "line 2: a text holds \\ud800, half of a surrogate pair"),
        (b'{"word": [["a\\u0000"]]}\n', "line 1: a text holds \\u0000, a NUL"),
        (b'{"word": ["a"]}\n{"word": null}\n', "column 'word', row 2"),
        (b'{"word": "a"}\n', "column 'word', row 1"),
        (b'{"words": ["a"]}\n', "there is no column 'word'. Did you mean 'words'?"),
    ],
)
def test_what_is_no_list_of_texts_is_named_with_its_place(
    data: bytes, message: str, door: str, model: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ask(cli, model, data, door, tmp_path, monkeypatch)
    assert found.code == 1
    assert message in found.err, found.err
    assert "Traceback" not in found.err
    assert found.out == ""


def test_a_text_is_no_list(model: Path, cli: Cli) -> None:
    found = cli("predict", model, "--text", "a b")
    assert found.code == 2
    assert "--text answers for models that read texts alone; this one reads word: use --data" in found.err


ROW = {"word": ["a", "b"], "text": "who is it", "asked": "who?", "told": "ann sat"}
TEXT, PAIR = {"text": {"kind": "text"}}, {"text": {"kind": "text", "columns": ["asked", "told"]}}


@pytest.mark.parametrize(
    ("inputs", "kind", "taught", "untaught", "code", "metrics"),
    [
        (READ, "labels", ["X", "Y"], ["odd", "odd"], "untaught-label", ["accuracy", "macro-F1"]),
        (TEXT, "category", "glad", "odd", "untaught-label", ["accuracy", "macro-F1"]),
        (TEXT, "tags", "glad;sad", "odd", "untaught-label", ["F1", "exact"]),
        (PAIR, "span", "ann", "odd", "absent-answer", ["EM", "F1"]),
        (TEXT, "text", "so so", "odd", "untaught-token", ["BLEU"]),
    ],
)
def test_truths_that_nobody_has_learned_are_missed_and_named(
    inputs: dict[str, Any], kind: str, taught: object, untaught: object, code: str, metrics: list[str]
) -> None:
    rows = [{**ROW, "split": "train", "answer": taught}] * 16 + [{**ROW, "split": "test", "answer": untaught}] * 4
    frame = pl.DataFrame(rows)
    trained = made(inputs, {"answer": {"kind": kind}}, frame, split={"column": "split", "valid": 0})
    ledger = Ledger()
    dataset = read_dataset(trained.model, frame, ledger=ledger)
    trained.model.report(dataset.segments, ledger)
    (problem,) = [problem for problem in ledger.problems if problem.code == code]
    assert problem.row == 17
    scores = trained.evaluate(frame).document["outputs"]["answer"]["metrics"]
    assert [scores[metric]["value"] for metric in metrics] == [0] * len(metrics)
