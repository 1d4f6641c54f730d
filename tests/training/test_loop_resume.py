"""Resume: a run that was killed and resumed, however often, is the run that was not, to the last bit."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flows import Outcome, Stopper, call, daily, flat, forecast_recipe, labels_recipe, start, trained, write
from seqloom.artefact import load_artefact
from seqloom.budget import PROCESS
from seqloom.errors import Interrupted
from seqloom.training.journal import read_log

STEPS = 150


def losses(run: Path) -> list[tuple[int, bool, str]]:
    """Step, whether it is a validation, and the exact loss, line by line."""
    return [(line["step"], "valid" in line, line["loss_hex"]) for line in read_log(run)]


def last_step(run: Path) -> int:
    lines = read_log(run)
    return int(lines[-1]["step"]) if lines else -1


def stop_at(process: subprocess.Popen[str], run: Path, step: int, number: signal.Signals, *, wait: float = 0.0) -> None:
    """Send a signal once the log has come to a step, so many seconds later."""
    deadline = time.monotonic() + 100
    while last_step(run) < step and process.poll() is None:
        assert time.monotonic() < deadline, f"step {step} was never reached"
        time.sleep(0.001)
    time.sleep(wait)
    process.send_signal(number)


# Whole windows; rows that carry their state on, six steps in an epoch and 11 between checkpoints, so that a run is
# taken up again in the middle of its sequences; and exact gradients from chunks, several for each sequence.
RECIPES = {
    "windows": forecast_recipe(steps=STEPS, validate_every=11, accumulate=2, patience=1000),
    "streams": labels_recipe(steps=STEPS, validate_every=11, accumulate=2, patience=1000, tbptt_steps=3, batch_size=2),
    "chunks": {
        **labels_recipe(
            steps=STEPS, validate_every=11, patience=1000, memory=f"{PROCESS / 1e6 + 0.08}MB", batch_size=2
        ),
        "core": {"cell": "gru", "hidden_size": 6, "num_layers": 2, "dropout": 0.2},  # runs natively
    },
}


@pytest.fixture(scope="module", params=RECIPES)
def uninterrupted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    recipe = RECIPES[request.param]
    write(folder, recipe, daily())
    found = call("train", folder / "recipe.yaml", "--data", folder / "data.csv", "-o", folder / "whole")
    assert found.code == 0, found.err
    return folder


def assert_same_run(run: Path, folder: Path) -> None:
    whole = folder / "whole"
    assert len([1 for _, validation, _ in losses(run) if not validation]) == STEPS
    assert losses(run) == losses(whole)
    assert (run / "model.seqloom").read_bytes() == (whole / "model.seqloom").read_bytes()


@pytest.mark.parametrize("uninterrupted", ["windows", "streams"], indirect=True)
def test_killed_interrupted_and_resumed(uninterrupted: Path, seed: int) -> None:
    """SIGKILL before the first validation, SIGKILL anywhere, Ctrl-C anywhere, then to the end."""
    folder, chance = uninterrupted, random.Random(seed)
    run = folder / "killed"
    process = start("train", folder / "recipe.yaml", "--data", folder / "data.csv", "-o", run)
    for step, number in [
        (2, signal.SIGKILL),
        (chance.randrange(20, 60), signal.SIGKILL),
        (chance.randrange(70, 100), signal.SIGINT),
    ]:
        stop_at(process, run, step, number)
        _, err = process.communicate()
        assert process.returncode == (130 if number is signal.SIGINT else -signal.SIGKILL), err
        assert step <= last_step(run) < STEPS
        assert not (run / "model.seqloom").exists()
        if number is signal.SIGINT:
            assert flat(err) == f"error: stopped after step {last_step(run)}; go on with `seqloom resume {run}`"
            break
        process = start("resume", run)
    found = call("resume", run)
    assert found.code == 0, found.err
    assert_same_run(run, folder)
    again = call("resume", run)
    assert again.code == 1
    assert f"{run} is finished; there is nothing to resume. Next: seqloom evaluate {run}" in again.err


@pytest.mark.parametrize("uninterrupted", ["chunks"], indirect=True)
def test_killed_within_an_exact_gradient(uninterrupted: Path, seed: int) -> None:
    """SIGKILL at any moment of a step, be it between the passes over its chunks, then to the end."""
    folder, chance = uninterrupted, random.Random(seed)
    assert json.loads((folder / "whole" / "explain.json").read_text())["chunks"]["chunks"] > 2
    run = folder / "killed"
    with start("train", folder / "recipe.yaml", "--data", folder / "data.csv", "-o", run) as process:
        stop_at(process, run, chance.randrange(3, STEPS - 30), signal.SIGKILL, wait=chance.uniform(0, 0.05))
    assert process.returncode == -signal.SIGKILL
    assert last_step(run) < STEPS
    assert not (run / "model.seqloom").exists()
    found = call("resume", run)
    assert found.code == 0, found.err
    assert_same_run(run, folder)


@pytest.mark.slow
def test_killed_many_times(uninterrupted: Path, seed: int) -> None:
    folder, chance = uninterrupted, random.Random(seed)
    for attempt in range(3):
        run = folder / f"many-{attempt}"
        process = start("train", folder / "recipe.yaml", "--data", folder / "data.csv", "-o", run)
        kills = 0
        while True:
            stop_at(process, run, max(last_step(run), 0) + chance.randrange(1, 40), signal.SIGKILL)
            process.communicate()
            if process.returncode == 0:
                break
            kills += 1
            process = start("resume", run)
        assert kills >= 2
        assert_same_run(run, folder)


def interrupted_run(folder: Path) -> Path:
    run = folder / "run"
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match=f"stopped after step 4; go on with `seqloom resume {re.escape(str(run))}`"):
        trained(folder, watcher=Stopper(4, signal.SIGTERM))
    assert signal.getsignal(signal.SIGTERM) is before
    return run


def test_changed_data_or_environment_are_refused_and_named(
    tmp_path: Path, cli: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupted_run(tmp_path)
    table = tmp_path / "data.csv"
    text = table.read_text()
    table.write_text(text.replace("region 1", "region 2"))
    found = cli("resume", run)
    assert found.code == 1
    assert f"{run} cannot be resumed exactly, since this changed: the data in {table}" in found.err
    assert found.err.endswith("Put it back, or go on without that promise: --inexact")
    table.write_text(text)
    with monkeypatch.context() as other:
        other.setattr("torch.get_num_threads", lambda: 7)
        found = cli("resume", run)
    assert found.code == 1
    assert "since this changed: threads was 1, now 7" in found.err
    assert not (run / "model.seqloom").exists()
    assert cli("resume", run).code == 0
    assert losses(run)[-1][0] == 6


def test_inexact_goes_on_with_changed_data(tmp_path: Path, cli: Callable[..., Outcome]) -> None:
    """The weights keep the vocabulary that they know, though another of equal size stands in the table."""
    run = interrupted_run(tmp_path)
    table = tmp_path / "data.csv"
    table.write_text(table.read_text().replace("region 1", "region 2"))
    assert cli("resume", run, "--inexact").code == 0
    fitted = load_artefact(run / "model.seqloom").model.fitted()["inputs"]
    words = {name: part["words"] for name, part in fitted.items() if "words" in part}
    assert any("region 1" in known for known in words.values()), words
    assert not any("region 2" in known for known in words.values()), words


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, cli: Callable[..., Outcome], damage: str
) -> None:
    run = interrupted_run(tmp_path)
    newest = max((run / "checkpoints").glob("step-*")) / "tensors.safetensors"
    assert newest.parent.name == "step-00000004"
    data = bytearray(newest.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    newest.write_bytes(data if damage == "flipped" else data[: len(data) // 2])
    found = cli("resume", run)
    assert found.code == 0, found.err
    assert losses(run)[-1][0] == 6


def test_no_valid_checkpoint_at_all(tmp_path: Path, cli: Callable[..., Outcome]) -> None:
    run = interrupted_run(tmp_path)
    for file in (run / "checkpoints").glob("step-*/tensors.safetensors"):
        file.write_bytes(b"")
    found = cli("resume", run)
    assert found.code == 1
    assert f"{run / 'checkpoints'}: expected a valid checkpoint, found" in found.err
    assert found.err.endswith("train from the start")
    assert not (run / "model.seqloom").exists()


def test_resuming_what_is_no_run(tmp_path: Path, cli: Callable[..., Outcome]) -> None:
    found = cli("resume", tmp_path)
    assert found.code == 1
    assert found.err == f"error: {tmp_path} is no run directory; expected one made by `seqloom train ... -o RUN`"
