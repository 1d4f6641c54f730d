"""The mean of several validations: which ones, their exact mean, and that it is kept only where it is better."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seqloom
from flows import Outcome, Stopper, daily, forecast_recipe, trained, write
from seqloom.artefact import load_artefact
from seqloom.batch import encode
from seqloom.dataset import read_dataset
from seqloom.errors import Interrupted, RecipeError
from seqloom.fitting import prepare, validation_places
from seqloom.model import SequenceModel
from seqloom.recipe import load_recipe, parse_recipe
from seqloom.run import resume_run, train_run
from seqloom.training import loop
from seqloom.training.checkpoint import load_checkpoint
from seqloom.training.checkpoint_mean import CheckpointMean
from seqloom.training.journal import read_log
from seqloom.training.measure import measure


def filled(best: int | None, last: int | None, losses: list[float]) -> CheckpointMean:
    mean = CheckpointMean(best, last)
    for step, loss in enumerate(losses, start=1):
        mean.take(step, loss, {"w": torch.tensor([float(step), 1e8 * step]), "seen": torch.tensor(step)})
    return mean


@pytest.mark.parametrize(
    ("best", "last", "expected"),
    [
        (2, None, {"best": [2, 5]}),
        (3, None, {"best": [2, 4, 5]}),
        (None, 2, {"last": [5, 6]}),
        (3, 2, {"best": [2, 4, 5], "last": [5, 6]}),
        (9, None, {"best": [1, 2, 3, 4, 5, 6]}),
    ],
)
def test_the_best_and_the_last_are_chosen(best: int | None, last: int | None, expected: dict[str, list[int]]) -> None:
    mean = filled(best, last, [9.0, 1.0, 3.0, 2.0, 1.0, 5.0])
    assert {found.kind: found.steps for found in mean.means()} == expected
    for found in mean.means():
        torch.testing.assert_close(found.weights["w"][0], torch.tensor(np.mean(found.steps), dtype=torch.float32))
        assert found.weights["seen"] == found.steps[-1]
    kept = {step for steps in expected.values() for step in steps}
    assert {key.partition("/")[0] for key in mean.tensors()} == {str(step) for step in kept}, "no more than is needed"


def test_one_validation_has_no_mean() -> None:
    assert list(filled(2, 2, [1.0]).means()) == []
    assert list(filled(None, None, [1.0, 2.0]).means()) == []


def test_what_was_taken_is_a_copy() -> None:
    mean, weight = CheckpointMean(2, None), torch.zeros(1)
    for step in (1, 2):
        weight.fill_(step)
        mean.take(step, 1.0, {"w": weight})
    assert next(mean.means()).weights["w"] == 1.5


def test_it_is_saved_and_restored_to_the_last_bit() -> None:
    mean = filled(2, 2, [0.1, 0.2, 0.30000000000000004])
    again = CheckpointMean(2, 2)
    again.restore(mean.tensors(), json.loads(json.dumps(mean.document())))
    assert again.document() == mean.document()
    for a, b in zip(again.means(), mean.means(), strict=True):
        assert (a.kind, a.steps) == (b.kind, b.steps)
        assert all(torch.equal(a.weights[name], b.weights[name]) for name in b.weights)


def recipe(**training: Any) -> dict[str, Any]:
    """A rate so high that the weights jump about, which their mean does not."""
    high = {"steps": 60, "validate_every": 5, "lr": 0.2, "schedule": "constant", "average": 0.0, "warmup_steps": 1}
    return forecast_recipe(**high | {"patience": 1000} | training)


@pytest.mark.parametrize("training", [{}, {"steps": 120, "lr": 0.1, "validate_every": 2}], ids=["worse", "better"])
def test_the_mean_is_measured_and_kept_only_where_it_is_better(training: dict[str, Any], tmp_path: Path) -> None:
    place = trained(tmp_path, recipe(average_best=4, average_last=6, **training))
    tried = [line for line in read_log(place) if "mean_of" in line]
    valid = {line["step"]: line["valid"]["loss"] for line in read_log(place) if "valid" in line}
    assert [line["kind"] for line in tried] == ["best", "last"]
    assert tried[0]["mean_of"] == sorted(sorted(valid, key=valid.__getitem__)[:4])
    assert tried[1]["mean_of"] == sorted(valid)[-6:]
    best = min(valid.values())
    for line in tried:
        assert line["kept"] == (line["mean"]["loss"] < best)
        best = min(best, line["mean"]["loss"])
    found = load_artefact(place / "model.seqloom")
    assert found.receipt["validation"]["loss"] == best
    kept = [line["mean_of"] for line in tried if line["kept"]]
    assert found.receipt.get("mean_of") == (kept[-1] if kept else None)
    model = SequenceModel(load_recipe(place / "recipe.full.yaml")[0])
    dataset = read_dataset(model, tmp_path / "data.csv")
    prepare(model, dataset)
    model.load_state_dict(found.model.state_dict())
    again = measure(model, encode(dataset.segments, model.inputs, model.outputs), validation_places(model, dataset))
    # Training looks at shortened windows, which this table has not.
    assert again["loss"] == pytest.approx(best, rel=1e-5), "what is reported is what the kept weights reach"


def test_a_better_mean_takes_the_place_of_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Validations have loss 1, what is measured after them a tenth."""
    counted = iter([*[1.0] * 12, 0.1, 0.1])
    monkeypatch.setattr(loop, "measure", lambda model, encoded, places: {"loss": next(counted)})
    place = trained(tmp_path, recipe(average_best=2, average_last=3))
    first, second = (line for line in read_log(place) if "mean_of" in line)
    assert (first["kept"], second["kept"]) == (True, False), "what is not better than the first is not kept"
    checkpoint, found = load_checkpoint(place / "checkpoints"), load_artefact(place / "model.seqloom")
    assert found.receipt["mean_of"] == first["mean_of"] == [5, 10], "of equal losses the earlier"
    for name, weight in found.model.state_dict().items():
        parts = [checkpoint.tensors[f"mean/{step}/{name}"] for step in (5, 10)]
        torch.testing.assert_close(weight, (parts[0] + parts[1]) / 2)
        assert not name.endswith("weight") or not torch.equal(*parts)


def test_training_itself_is_not_changed(tmp_path: Path) -> None:
    plain, with_means = trained(tmp_path / "a", recipe()), trained(tmp_path / "b", recipe(average_best=3))
    bits = [[line["loss_hex"] for line in read_log(place) if "mean_of" not in line] for place in (plain, with_means)]
    assert bits[0] == bits[1]
    assert "mean_of" not in load_artefact(plain / "model.seqloom").receipt


def test_a_run_that_was_stopped_has_the_same_mean(tmp_path: Path) -> None:
    means = recipe(average_best=4, average_last=3)
    whole, place = trained(tmp_path / "a", means), tmp_path / "b" / "run"
    with pytest.raises(Interrupted):
        trained(tmp_path / "b", means, watcher=Stopper(33))  # between two validations
    kept = {key for key in load_checkpoint(place / "checkpoints").tensors if key.startswith("mean/")}
    assert kept
    train_run(place, resume_run(place), resume=True)
    assert (place / "model.seqloom").read_bytes() == (whole / "model.seqloom").read_bytes()
    again = [line["loss_hex"] for line in read_log(place)]
    assert again == [line["loss_hex"] for line in read_log(whole)]


def test_without_a_validation_part_it_is_refused() -> None:
    document = recipe(average_last=3)
    document["data"]["split"]["valid"] = 0
    with pytest.raises(RecipeError, match=r"training\.average_last: needs a validation part to choose by"):
        parse_recipe(document)


def test_too_few_validations_are_said(tmp_path: Path, cli: Any) -> None:
    recipe_file, table = write(tmp_path, recipe(average_best=4, steps=4), daily())
    found: Outcome = cli("train", recipe_file, "--data", table, "-o", tmp_path / "run")
    assert found.code == 0, found.err
    assert "no weights were averaged: that needs two validations or more" in found.out


def test_the_command_says_what_it_kept(tmp_path: Path, cli: Any) -> None:
    recipe_file, table = write(tmp_path, recipe(average_best=8), daily())
    found: Outcome = cli("train", recipe_file, "--data", table, "-o", tmp_path / "run")
    assert found.code == 0, found.err
    assert "the mean of the best weights, those of steps " in found.out
    assert ("mean of steps" in found.out) == ("it is kept" in found.out)


def test_in_python_the_receipt_says_it_and_nothing_warns(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    document = recipe(steps=20, average_best=2, average_last=3)
    expected = load_artefact(trained(tmp_path, document) / "model.seqloom").receipt
    recwarn.clear()
    found = seqloom.fit(parse_recipe(document), daily()).receipt
    assert found.keys() == expected.keys()
    assert all(found[key] == expected[key] for key in found.keys() - {"data"})
    assert [told for told in recwarn if "mean of" in str(told.message)] == []


def test_in_python_too_few_validations_are_a_warning() -> None:
    with pytest.warns(UserWarning, match="no weights were averaged: that needs two validations or more"):
        seqloom.fit(parse_recipe(recipe(average_best=4, steps=4)), daily())
