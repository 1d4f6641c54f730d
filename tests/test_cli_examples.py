"""Answers for whole sequences and for steps: generated tables with a plain rule, learned better than the rivals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import seqloom
from flows import Outcome, write
from seqloom.stream import Stream

Cli = Callable[..., Outcome]
ROWS = 120
INPUTS = {
    "x": {"kind": "series"},
    "word": {"kind": "category", "role": "past"},
    "place": {"kind": "category"},
    "age": {"kind": "number"},
    "profile": {"kind": "vector", "size": 4},
}


def examples(rows: int = ROWS) -> pl.DataFrame:
    """Sequences of 1 to 9 steps; what is asked depends on the sequence and on the values beside it."""
    random = np.random.default_rng(17)
    table: list[dict[str, Any]] = []
    for k in range(rows):
        length = int(random.integers(1, 10))
        x, place = random.normal(0, 1, length), ["town", "sea"][int(random.integers(2))]
        words = [["up", "down"][int(value < 0)] for value in x]
        profile = random.normal(0, 1, 3)
        table.append(
            {
                "name": f"row {k}",
                "x": x.round(4).tolist(),
                "word": words,
                "place": place,
                "age": float(random.integers(20, 60)),
                "profile": profile.round(4).tolist(),
                "mood": "good" if place == "sea" or x[-1] > 1.2 else "bad",
                "price": float(100 + 30 * x[-1] + 20 * (place == "sea")),
                "tags": ["high" if value > 0 else "low" for value in x],
            }
        )
    return pl.DataFrame(table)


def recipe(output: dict[str, Any], **core: Any) -> dict[str, Any]:
    """All inputs joined, one output."""
    return {
        "data": {"id": "name", "split": {"valid": 0.2, "test": 0.25}},
        "inputs": INPUTS,
        "core": {"cell": "gru", "hidden_size": 8, **core},
        "outputs": output,
        "training": {"steps": 60, "batch_size": 32, "validate_every": 15, "warmup_steps": 5, "lr": 0.03, "seed": 1},
    }


OUTPUTS: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "mood": ({"kind": "category"}, "accuracy", ["majority"]),
    "price": ({"kind": "number"}, "MAE", ["mean", "median"]),
    "tags": ({"kind": "labels"}, "accuracy", ["majority"]),
}


@pytest.mark.parametrize("name", list(OUTPUTS))
def test_trained_models_beat_the_rivals(name: str, tmp_path: Path, cli: Cli) -> None:
    entry, metric, rivals = OUTPUTS[name]
    recipe_file, table = write(tmp_path, recipe({name: entry}), examples(), "data.jsonl")
    run = tmp_path / "run"
    found = cli("train", recipe_file, "--data", table, "-o", run)
    assert found.code == 0, found.err
    found = cli("evaluate", run)
    assert found.code == 0, found.err
    scores = json.loads((run / "metrics.json").read_text())["outputs"][name]
    mine = scores["metrics"][metric]["value"]
    assert list(scores["rivals"]) == rivals
    for rival in rivals:
        theirs = scores["rivals"][rival]["metrics"][metric]["value"]
        assert mine < 0.6 * theirs if metric == "MAE" else mine > theirs + 15
    target = tmp_path / "answers.csv"
    found = cli("predict", run, "--data", table, "-o", target)
    assert found.code == 0, found.err
    assert_answers(name, pl.read_csv(target), target)


def assert_answers(name: str, answers: pl.DataFrame, target: Path) -> None:
    """One row for each sequence, or for each step of it, in the order of the table."""
    frame = examples()
    if name == "price":
        assert answers.columns == ["id", "y", "y_hat"]
        assert answers["id"].to_list() == frame["name"].to_list()
        np.testing.assert_allclose(answers["y"].to_numpy(), frame["price"].to_numpy())
        return
    shares = [column for column in answers.columns if column.startswith("p-")]
    assert set(shares) == ({"p-good", "p-bad"} if name == "mood" else {"p-high", "p-low"})
    np.testing.assert_allclose(answers.select(shares).sum_horizontal().to_numpy(), 1, rtol=1e-9)
    best = [shares[k].removeprefix("p-") for k in answers.select(shares).to_numpy().argmax(axis=1)]
    assert answers["y_hat"].to_list() == best
    if name == "mood":
        assert answers.columns[:3] == ["id", "y", "y_hat"]
        assert answers["id"].to_list() == frame["name"].to_list()
        assert answers["y"].to_list() == frame["mood"].to_list()
        return
    steps = frame.select("name", pl.col("tags")).explode("tags")
    assert answers.columns[:4] == ["id", "step", "y", "y_hat"]
    assert answers["id"].to_list() == steps["name"].to_list()
    assert answers["y"].to_list() == steps["tags"].to_list()
    assert answers["step"].to_list() == [k for tags in frame["tags"].to_list() for k in range(1, len(tags) + 1)]


@pytest.mark.parametrize(("name", "column"), [("mood", "p-good"), ("price", "y_hat"), ("tags", "p-high")])
def test_new_rows_need_no_truth_and_may_hold_anything(name: str, column: str, tmp_path: Path, cli: Cli) -> None:
    """Unseen words, missing values and an empty sequence, alone and together; no column of the truth."""
    recipe_file, table = write(tmp_path, recipe({name: OUTPUTS[name][0]}), examples(), "data.jsonl")
    run = tmp_path / "run"
    assert cli("train", recipe_file, "--data", table, "-o", run, "training.steps=3").code == 0
    new = [
        {"name": "plain", "x": [1.0, 2.0], "word": ["up", "up"], "place": "sea", "age": 30, "profile": [0, 0, 0]},
        {
            "name": "odd",
            "x": [None, 2.0],
            "word": ["left", None],
            "place": "moon",
            "age": None,
            "profile": [1, 2, 3],
        },
        {"name": "empty", "x": [], "word": [], "place": "sea", "age": 30, "profile": [0, 0, 0]},
    ]
    target = tmp_path / "answers.jsonl"
    together: dict[str, list[float]] = {}
    for rows in (new, *([row] for row in new)):
        (tmp_path / "new.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
        found = cli("predict", run, "--data", tmp_path / "new.jsonl", "-o", target)
        assert found.code == 0, found.err
        lines = [json.loads(line) for line in target.read_text().splitlines()]
        assert all(line["y"] is None for line in lines)
        answers = {row["name"]: [line[column] for line in lines if line["id"] == row["name"]] for row in rows}
        together = together or answers
        for key, values in answers.items():
            np.testing.assert_allclose(values, together[key], atol=1e-5)
    steps = 2 if name == "tags" else 1
    assert [len(values) for values in together.values()] == [steps, steps, 0 if name == "tags" else 1]
    assert together["plain"] != together["odd"]


def test_several_outputs_at_once(tmp_path: Path, cli: Cli) -> None:
    outputs = {"mood": {"kind": "category"}, "price": {"kind": "number", "weight": 0.5}}
    recipe_file, table = write(tmp_path, recipe(outputs, bidirectional=True), examples(), "data.jsonl")
    run = tmp_path / "run"
    found = cli("train", recipe_file, "--data", table, "-o", run, "training.steps=20")
    assert found.code == 0, found.err
    assert cli("evaluate", run).code == 0
    assert set(json.loads((run / "metrics.json").read_text())["outputs"]) == {"mood", "price"}
    assert {path.name for path in (run / "predictions").iterdir()} == {
        "mood.csv", "mood.majority.csv", "price.csv", "price.mean.csv", "price.median.csv",
    }  # fmt: skip
    unnamed = cli("predict", run, "--data", table, "-o", tmp_path / "a.csv")
    assert (unnamed.code, unnamed.err) == (2, "error: output is None; expected one of mood, price")
    assert cli("predict", run, "--data", table, "-o", tmp_path / "a.csv", "--name", "price").code == 0
    assert pl.read_csv(tmp_path / "a.csv").columns == ["id", "y", "y_hat"]


def test_backtest_wants_a_forecast(tmp_path: Path, cli: Cli) -> None:
    recipe_file, table = write(tmp_path, recipe({"mood": {"kind": "category"}}), examples(), "data.jsonl")
    assert cli("train", recipe_file, "--data", table, "-o", tmp_path / "run", "training.steps=1").code == 0
    found = cli("backtest", tmp_path / "run", "--data", table, "-o", tmp_path / "a.csv")
    assert found.code == 2
    assert found.err == ("error: backtest needs a forecast among the outputs; for other answers use `seqloom evaluate`")


def test_init_guesses_a_recipe_for_examples(tmp_path: Path, cli: Cli) -> None:
    table, target = tmp_path / "data.jsonl", tmp_path / "recipe.yaml"
    examples().drop("name").write_ndjson(table)
    found = cli("init", table, "--output", "mood:category", "-o", target)
    assert found.code == 0, found.err
    overrides = ["training.steps=2", "core.hidden_size=4"]
    assert cli("train", target, "--data", table, "-o", tmp_path / "run", *overrides).code == 0
    assert "mood" in seqloom.load(tmp_path / "run").model.outputs


def test_labels_stream_as_they_are_predicted(tmp_path: Path) -> None:
    """The Python door: fit, then push the steps of a row one by one."""
    trained = seqloom.fit(write_recipe(tmp_path), examples(), overrides=["training.steps=20"])
    row = examples().row(3, named=True)
    whole = trained.predict(examples()[3:4])
    stream = Stream(trained.model, static={name: row[name] for name in ("place", "age", "profile")})
    streamed = [
        stream.push(pl.DataFrame({"x": [x], "word": [w]}))["tags"][0]
        for x, w in zip(row["x"], row["word"], strict=True)
    ]
    words = trained.model.outputs["tags"].fitted()["words"]
    np.testing.assert_allclose(streamed, whole.select(f"p-{word}" for word in words).to_numpy(), atol=1e-6)


def write_recipe(folder: Path) -> Path:
    return write(folder, recipe({"tags": {"kind": "labels"}}), examples(), "data.jsonl")[0]
