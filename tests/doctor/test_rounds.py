"""The doctor while training: it says what the command says, once, and not a bit of the training changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from classic_tasks import adding, adding_recipe
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import seqloom
from flows import Outcome, forecast_recipe, labels_recipe, trained, write
from seqloom.artefact import load_artefact
from seqloom.errors import Interrupted
from seqloom.recipe import parse_recipe
from seqloom.run import resume_run, train_run
from seqloom.training.journal import read_log
from seqloom.training.watcher import Watcher

Cli = Callable[..., Outcome]
SICK = adding_recipe(
    {"cell": "lstm", "hidden_size": 8},
    {"steps": 9, "lr": 0.005, "batch_size": 32, "validate_every": 3, "warmup_steps": 2, "doctor_every": 3},
)


def looks(run: Path) -> list[tuple[int, list[dict[str, Any]]]]:
    """Step and diagnoses of each look."""
    return [(line["step"], line["doctor"]) for line in read_log(run) if "doctor" in line]


def exact_losses(run: Path) -> list[str]:
    return [line["loss_hex"] for line in read_log(run) if "doctor" not in line]


class Listener(Watcher):
    """Keeps what it is told, and stops training after a step."""

    def __init__(self, stop: int | None = None) -> None:
        self.stop, self.notes = stop, list[str]()

    def step(self, step: int, loss: float) -> None:
        if step == self.stop:
            raise Interrupted("enough")

    def note(self, text: str) -> None:
        self.notes.append(text)


PLAIN = {
    "windows": forecast_recipe(steps=7, validate_every=3),
    "streams": labels_recipe(steps=7, validate_every=3, tbptt_steps=3, batch_size=2),
}


@pytest.mark.parametrize("name", PLAIN)
def test_not_a_bit_of_the_training_changes(name: str, tmp_path: Path) -> None:
    """Every kind of chance is on; looks come between validations and at them."""
    recipe = PLAIN[name]
    watched = {**recipe, "training": {**recipe["training"], "doctor_every": 2}}
    plain, looked_at = trained(tmp_path / "plain", recipe), trained(tmp_path / "watched", watched)
    assert [step for step, _ in looks(looked_at)] == [2, 4, 6, 7], "and the last step"
    assert exact_losses(looked_at) == exact_losses(plain)
    weights, expected = (load_artefact(run / "model.seqloom").model.state_dict() for run in (looked_at, plain))
    for key, weight in expected.items():
        assert torch.equal(weights[key], weight), key


def test_the_last_look_is_after_the_last_step_however_training_ends(tmp_path: Path) -> None:
    recipe = forecast_recipe(steps=60, validate_every=2, lr=0.5, average=0.0, patience=1, doctor_every=50)
    run = trained(tmp_path, recipe)
    last = read_log(run)[-1]["step"]
    assert last < 50
    assert [step for step, _ in looks(run)] == [last]


def test_it_says_what_the_command_says_and_says_it_once(tmp_path: Path, cli: Cli) -> None:
    file, table = write(tmp_path, SICK, adding(1500, 40), "data.jsonl")
    done = cli("train", file, "--data", table, "-o", tmp_path / "run")
    assert done.code == 0, done.err
    assert done.out.count("MEMORY TOO SHORT FOR THE DATA forget gates keep a value for") == 1
    assert "doctor at step 3: MEMORY TOO SHORT FOR THE DATA" in done.out
    assert "change core.memory_steps=" in done.out
    found = looks(tmp_path / "run")
    assert [step for step, _ in found] == [3, 6, 9]
    after = json.loads(cli("doctor", tmp_path / "run", "--json").out)
    assert found[-1][1] == after["diagnoses"] != []
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    told = [event.tensor_proto.string_val[0].decode() for event in events.Tensors("doctor/text_summary")]
    assert told == [", ".join(diagnosis["name"] for diagnosis in diagnoses) for _, diagnoses in found]
    assert "Looks while training: 3, the last after step 9." in (tmp_path / "run" / "report.html").read_text()


def test_a_resumed_run_has_the_looks_of_one_that_was_not_stopped(tmp_path: Path) -> None:
    frame, whole, stopped, again = adding(1500, 40), Listener(), Listener(stop=5), Listener()
    expected = trained(tmp_path / "whole", SICK, frame, name="data.jsonl", watcher=whole)
    with pytest.raises(Interrupted):
        trained(tmp_path / "stopped", SICK, frame, name="data.jsonl", watcher=stopped)
    run = tmp_path / "stopped" / "run"
    assert [step for step, _ in looks(run)] == [3]

    train_run(run, resume_run(run), watcher=again, resume=True)
    assert looks(run) == looks(expected)
    assert exact_losses(run) == exact_losses(expected)
    assert stopped.notes == whole.notes
    assert len(whole.notes) == 1
    assert again.notes == [], "it was told before the run was stopped"


def test_a_healthy_training_is_not_disturbed(tmp_path: Path) -> None:
    listener = Listener()
    recipe = {**SICK, "core": {"cell": "gru", "hidden_size": 12, "memory_steps": 80}}
    run = trained(tmp_path, recipe, adding(1500, 40), name="data.jsonl", watcher=listener)
    assert [found for _, found in looks(run)] == [[], [], []]
    assert listener.notes == []


def test_in_python_it_is_a_warning() -> None:
    recipe = {**SICK, "training": {**SICK["training"], "steps": 3}}
    with pytest.warns(UserWarning, match=r"doctor at step 3:\n  MEMORY TOO SHORT FOR THE DATA\n") as told:
        seqloom.fit(parse_recipe(recipe), adding(1500, 40))
    assert len(told) == 1
