"""Texts as a user asks for answers: one by hand, a file, a pipe; and texts that are no texts."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows import Outcome
from seqloom.data.settings import DataSettings
from seqloom.data.tables import read_table
from seqloom.errors import ArtefactError, DataError
from seqloom.recipe import parse_recipe
from seqloom.saving import read_tensors, write_tensors
from seqloom.trained import fit, load

Cli = Callable[..., Outcome]
FRAME = pl.DataFrame({"text": ["so good", "so bad", "good", "bad bad"] * 15, "mood": ["glad", "sad"] * 30})


def saved(place: Path, frame: pl.DataFrame = FRAME, **text: Any) -> Path:
    document = {
        "inputs": {"text": {"kind": "text", "size": 8, "unknown_rate": 0, **text}},
        "core": {"hidden_size": 8},
        "outputs": {"mood": {"kind": "category"}},
        "training": {"steps": 80, "lr": 0.03, "batch_size": 16, "warmup_steps": 5, "batch_tokens": 40},
    }
    fit(parse_recipe(document), frame).save(place)
    return place


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("texts") / "mood.seqloom")


def pipe(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_one_text_is_answered_with_names(model: Path, cli: Cli) -> None:
    found = cli("predict", model, "--text", "so good")
    assert found.code == 0, found.err
    answer, glad, sad = (found.out.index(word) for word in ("answer", "glad", "sad"))
    assert answer < glad < sad, "the answer, then every class with its chance, the likeliest first"
    bad = cli("predict", model, "--text", "bad").out
    assert bad.rindex("sad") < bad.rindex("glad")


def test_json_lines_go_in_and_come_out(model: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, '{"text": "good"}\n{"text": null}\n{"text": "so bad — ☹"}\n'.encode())
    found = cli("predict", model)
    assert found.code == 0, found.err
    rows = [json.loads(line) for line in found.out.replace("} {", "}\n{").splitlines()]
    assert [(row["id"], row["y_hat"]) for row in rows if row["id"] != "2"] == [("1", "glad"), ("3", "sad")]
    assert all(abs(row["p-glad"] + row["p-sad"] - 1) < 1e-9 for row in rows)
    said = "warning: column 'text' has 1 empty texts: row 2; they are answered with nothing read."
    assert said in found.err, "what people read goes elsewhere"


def test_long_texts_are_counted_when_answered_too(tmp_path: Path, cli: Cli) -> None:
    place = saved(tmp_path / "short.seqloom", max_length=2)
    (tmp_path / "new.jsonl").write_text('{"text": "good"}\n{"text": "so so so bad"}\n')
    found = cli("predict", place, "--data", tmp_path / "new.jsonl", "-o", tmp_path / "answers.csv")
    assert "column 'text' has 1 texts of more than 2 tokens, in row 2 (line 2 of new.jsonl)" in found.out
    assert pl.read_csv(tmp_path / "answers.csv").height == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text", " "], "the text for text is empty; expected some words"),
        (["--text", "a", "--text", "b"], "--text is given 2 times; expected it once for each of: text"),
        (["--text", "so \udcff"], "the text for text is not UTF-8: byte 0xff at byte 3; check the encoding"),
        (["--text", "a", "--data", "b.csv"], "both --data b.csv and --text are given; expected one of them"),
    ],
)
def test_wrong_usage_is_said(arguments: list[str], message: str, model: Path, cli: Cli) -> None:
    found = cli("predict", model, *arguments)
    assert (found.code, message in found.err) == (2, True), found.err


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "'standard input' is empty (0 bytes); expected "),
        (b" \n\n", "'standard input' holds only blank space; expected rows of data."),
        (b'{"text": "a"}\n{"text": \n', "'standard input', line 2 is not JSON"),
        (b'{"other": "a"}\n', "there is no column 'text'. The table has: other."),
        (b'{"text": "a\xff"}\n', "'standard input' is not UTF-8: byte 0xff at byte 11, line 1"),
        (b'{"text": "a\0"}\n', "'standard input' has a NUL byte at byte 11"),
        (b'{"text": "ok"}\n{"text": "a\\ud800b"}\n', "line 2: a text holds \\ud800, half of a surrogate pair"),
        (b'{"text": "a\\udc00b"}\n', "line 1: a text holds \\udc00, half of a surrogate pair"),
        (b'{"text": "a\\u0000b"}\n', "line 1: a text holds \\u0000, a NUL"),
    ],
)
def test_what_is_no_text_is_named_with_its_place(
    data: bytes, message: str, model: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe(monkeypatch, data)
    file = tmp_path / "in.jsonl"
    file.write_bytes(data)
    for door, name in (([], "standard input"), (["--data", file], str(file))):
        found = cli("predict", model, *door)
        assert found.code == 1
        assert message.replace("standard input", name) in found.err, found.err
        assert "Traceback" not in found.err
        assert "stops training" not in found.err, "nothing is trained"


def test_whole_surrogate_pairs_and_written_out_escapes_are_text(tmp_path: Path) -> None:
    file = tmp_path / "table.jsonl"
    file.write_bytes(b'{"text": "a\\ud83d\\ude00b"}\n{"text": "a\\\\ud800 \\\\u0000"}\n')
    assert read_table(file, DataSettings())["text"].to_list() == ["a😀b", "a\\ud800 \\u0000"]
    file.write_bytes(b'{"text": "a\\ude00\\ud83d"}\n')
    with pytest.raises(DataError, match="line 1: a text holds"):
        read_table(file, DataSettings())


def test_a_very_long_line_takes_no_longer_than_what_is_read_of_it(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "long.jsonl"
    file.write_text('{"text": "' + "so good " * 1_000_000 + '"}\n{"text": "bad"}\n')
    began = time.process_time()
    found = load(model).predict(file)
    assert found["y_hat"].to_list() == ["glad", "sad"]
    assert time.process_time() - began < 5


@pytest.mark.slow
def test_a_line_of_100_megabytes_is_learned_from_and_answered(tmp_path: Path) -> None:
    long = FRAME.with_columns(text=pl.when(pl.int_range(60) == 0).then(pl.lit("x" * 100_000_000)).otherwise("text"))
    found = load(saved(tmp_path / "long.seqloom", long)).predict(long)
    assert found["y_hat"].to_list()[1:5] == ["sad", "glad", "sad", "glad"]


def test_labels_that_nobody_has_learned_are_missed_and_named(
    model: Path, tmp_path: Path, cli: Cli, no_auto_ets: None
) -> None:
    frame = FRAME.with_columns(
        mood=pl.when(pl.int_range(60) == 59).then(pl.lit("odd")).otherwise("mood"),
        split=pl.when(pl.int_range(60) < 50).then(pl.lit("train")).otherwise(pl.lit("test")),
    )
    frame.write_ndjson(tmp_path / "moods.jsonl")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "data: {split: {column: split, valid: 0}}\ninputs: {text: {kind: text}}\noutputs: {mood: {kind: category}}\n"
        "core: {hidden_size: 4}\ntraining: {steps: 2}\n"
    )
    found = cli("train", recipe, "--data", tmp_path / "moods.jsonl", "-o", tmp_path / "run")
    assert "target 'mood' has 1 labels that the train part never shows: 'odd' (1), first in row 60" in found.out
    assert cli("evaluate", tmp_path / "run").code == 0
    scores = json.loads((tmp_path / "run" / "metrics.json").read_text())["outputs"]["mood"]
    assert scores["confusion"]["labels"] == ["glad", "sad", "odd"]
    assert sum(scores["confusion"]["counts"][2]) == 1


def test_the_vocabulary_of_another_model_is_refused(model: Path, tmp_path: Path, cli: Cli) -> None:
    other = saved(tmp_path / "other.seqloom", FRAME.with_columns(text=pl.lit("of so many more words")))
    tensors, document = read_tensors(model)
    document["fitted"]["inputs"]["text"] = read_tensors(other)[1]["fitted"]["inputs"]["text"]
    write_tensors(tmp_path / "mixed.seqloom", tensors, document)
    with pytest.raises(ArtefactError, match=r"mixed.seqloom: .* the vocabulary or scale of inputs.text is not the one"):
        load(tmp_path / "mixed.seqloom")
    document["fitted"]["inputs"]["text"]["tokenizer"] = '{"model": 1}'
    write_tensors(tmp_path / "broken.seqloom", tensors, document)
    with pytest.raises(ArtefactError, match="the tokenizer cannot be restored"):
        load(tmp_path / "broken.seqloom")
    for name in ("mixed", "broken"):
        found = cli("predict", tmp_path / f"{name}.seqloom", "--text", "so good")
        assert found.code == 1
        assert found.err.startswith(f"error: {tmp_path / name}.seqloom: ")
