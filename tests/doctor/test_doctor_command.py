"""`seqloom doctor`: what it prints, writes and keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from classic_tasks import copy, copy_recipe
from clinic import TRAINING

from flows import Outcome, daily, forecast_recipe, write
from seqloom.doctor.course import course
from seqloom.doctor.diseases import Diagnosis, Edit, diagnose, merged
from seqloom.doctor.findings import Findings, Layer
from seqloom.doctor.reach import Reach
from seqloom.doctor.treatment import keep_former, treated
from seqloom.recipe import Recipe, load_recipe, parse_recipe

Cli = Callable[..., Outcome]


@pytest.fixture
def sick(tmp_path: Path, cli: Cli) -> Path:
    """A run whose memory is too short, with a setting that only the command line gave."""
    recipe = copy_recipe({"cell": "lstm", "hidden_size": 8}, TRAINING | {"steps": 20})
    recipe_file, table = write(tmp_path, recipe, copy(400, 20, copied=4), "data.jsonl")
    done = cli("train", recipe_file, "--data", table, "-o", tmp_path / "run", "training.seed=7")
    assert done.code == 0, done.err
    return tmp_path / "run"


def test_it_names_the_disease_and_writes_the_recipe(sick: Path, cli: Cli) -> None:
    target = sick.parent / "recipe.yaml"
    former = target.read_text()
    done = cli("doctor", sick, "--apply", target)
    assert done.code == 0, done.err
    assert "MEMORY TOO SHORT FOR THE DATA forget gates keep a value for 2." in done.out
    assert "inputs matter up to 25 steps back" in done.out or "inputs matter up to 24 steps back" in done.out
    assert f"the former {target} is {target}.former" in done.out
    assert Path(f"{target}.former").read_text() == former
    changed, text = load_recipe(target)
    assert changed.core.memory_steps in (48, 50)
    assert changed.training.seed == 7
    assert "# changed: core.memory_steps=" in text
    assert cli("doctor", sick, "--apply", target).code == 0
    assert Path(f"{target}.former").read_text() == former
    assert Path(f"{target}.former-2").read_text() == text
    again = cli("train", target, "--data", target.with_name("data.jsonl"), "-o", sick.parent / "treated")
    assert again.code == 0, again.err


def test_json_is_alone_on_standard_output(sick: Path, cli: Cli) -> None:
    done = cli("doctor", sick, "--json")
    found = json.loads(done.out)
    assert [entry["name"] for entry in found["diagnoses"]] == ["memory too short for the data"]
    assert found["diagnoses"][0]["edits"][0]["key"] == "core.memory_steps"
    (layer,) = found["layers"]
    assert len(layer["gradient_by_lag"]) == 27
    assert set(layer["saturated"]) == {"i", "f", "g", "o"}
    assert found["course"]["steps"] == 20
    assert json.loads((sick / "doctor.json").read_text()) == found
    assert "Diagnosis" in done.err


def test_an_unfinished_run_is_looked_at_too(tmp_path: Path, cli: Cli) -> None:
    """Training broke down, so there is no model; its last checkpoint and its log are there."""
    recipe_file, table = write(tmp_path, forecast_recipe(steps=50), daily())
    run = tmp_path / "run"
    wild = ("training.lr=1e30", "training.warmup_steps=0")
    assert cli("train", recipe_file, "--data", table, "-o", run, *wild).code == 1
    done = cli("doctor", run)
    assert done.code == 0, done.err
    assert "LEARNING RATE TOO HIGH training.lr 1e+30 is" in done.out
    assert "change training.lr=0.0" in done.out


def test_a_healthy_run_writes_no_recipe(tmp_path: Path, cli: Cli) -> None:
    recipe_file, table = write(tmp_path, forecast_recipe(), daily(120))
    assert cli("train", recipe_file, "--data", table, "-o", tmp_path / "run").code == 0
    done = cli("doctor", tmp_path / "run", "--apply", tmp_path / "new.yaml")
    assert "healthy: nothing to change" in done.out
    assert "nothing to change, so" in done.out
    assert not (tmp_path / "new.yaml").exists()


def test_what_is_no_run_is_refused(tmp_path: Path, cli: Cli) -> None:
    done = cli("doctor", tmp_path)
    assert (done.code, done.out) == (1, "")
    assert "is no run directory; expected one made by `seqloom train ... -o RUN`" in done.err


def test_a_former_file_is_never_lost(tmp_path: Path) -> None:
    target = tmp_path / "a.yaml"
    assert keep_former(target) is None
    for text in ("one", "two", "three"):
        target.write_text(text)
        keep_former(target)
    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert kept == {"a.yaml.former": "one", "a.yaml.former-2": "two", "a.yaml.former-3": "three"}


def test_edits_of_every_type_arrive(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({"inputs": {"x": {"kind": "series"}}, "outputs": {"y": {"kind": "number"}}}))
    conv = {"channels": 8, "kernel_size": 8, "stride": 4}
    edits = [
        Edit("core.cell", "lstm", "a"),
        Edit("core.orthogonal", True, "b"),
        Edit("training.lr", 1e-05, "c"),
        Edit("core.front", [conv], "d"),
    ]
    found = parse_recipe(yaml.safe_load(treated(file, edits)))
    assert (found.core.cell, found.core.orthogonal, found.training.lr) == ("lstm", True, 1e-5)
    assert [layer.stride for layer in found.core.front] == [4]


def test_of_two_edits_of_one_setting_the_first_disease_wins() -> None:
    first = Diagnosis("a", "", (Edit("training.lr", 1, ""), Edit("core.cell", "gru", "")))
    second = Diagnosis("b", "", (Edit("training.lr", 2, ""),))
    assert [(edit.key, edit.value) for edit in merged([first, second])] == [("training.lr", 1), ("core.cell", "gru")]


def findings(lag: int, layers: Any) -> Findings:
    return Findings(layers, Reach(lag, {lag: 1.0}), 1, None, {"layer 1": 1.0}, 0.1)


def recipe(**core: Any) -> Recipe:
    return parse_recipe({"inputs": {"x": {"kind": "series"}}, "core": core, "outputs": {"y": {"kind": "number"}}})


@pytest.mark.parametrize(
    ("warmup", "named"), [(5, ["learning rate too low"]), (10, ["learning rate too low"]), (11, [])]
)
def test_while_the_rate_rises_it_is_not_called_too_low(warmup: int, named: list[str]) -> None:
    settings = {"warmup_steps": warmup, "lr": 1e-4}
    declared = parse_recipe(
        {"inputs": {"x": {"kind": "series"}}, "outputs": {"y": {"kind": "number"}}, "training": settings}
    )
    steps = [{"step": k, "loss": 1.0, "norm": 0.5} for k in range(1, 61)]
    layer = Layer("layer 1", np.ones(4), 1.0, {}, 0.0, memory=2.0)
    found = Findings((layer,), Reach(None, {}), 1, course(steps, declared.training), {"layer 1": 0.01}, 0.1)
    assert [diagnosis.name for diagnosis in diagnose(found, declared)] == named


@pytest.mark.parametrize(
    ("core", "lag", "keys"),
    [
        ({"cell": "lstm"}, 40, ["core.memory_steps"]),
        ({"cell": "lstm"}, 500, ["core.memory_steps", "core.front"]),
        ({"cell": "lstm", "memory_steps": 80}, 40, ["core.front"]),
        ({"cell": "slstm"}, 40, ["core.front"]),
        ({"cell": "lstm", "memory_steps": 80, "front": [{"channels": 4, "kernel_size": 1}]}, 40, ["core.orthogonal"]),
    ],
)
def test_treatment_goes_on_where_the_first_one_was_given(core: dict[str, Any], lag: int, keys: list[str]) -> None:
    layer = Layer("layer 1", np.geomspace(1, 1e-12, lag), 0.5, {}, 0.0, memory=2.0)
    (found,) = diagnose(findings(lag, (layer,)), recipe(**core))
    assert found.name == "memory too short for the data"
    assert [edit.key for edit in found.edits] == keys
