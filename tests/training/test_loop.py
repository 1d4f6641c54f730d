"""The training loop: what its bits depend on, what it keeps, and how it stops when numbers end."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from catalogue import BY_NAME
from flows import Outcome, daily, forecast_recipe, trained, write
from seqloom.artefact import load_artefact
from seqloom.batch import cut, encode
from seqloom.dataset import part_places, read_dataset
from seqloom.errors import NonFiniteError, SeqloomError
from seqloom.fitting import prepare, validation_places
from seqloom.model import SequenceModel
from seqloom.outputs.text import Text
from seqloom.recipe import TrainingSettings, parse_recipe
from seqloom.training.journal import read_log
from seqloom.training.lessons import Material
from seqloom.training.loop import train
from seqloom.training.measure import measure
from seqloom.training.order import rows_of_step
from seqloom.training.watcher import Watcher


def test_the_seed_decides_every_bit(tmp_path: Path) -> None:
    first, second = trained(tmp_path / "a"), trained(tmp_path / "b")
    other = trained(tmp_path / "c", forecast_recipe(seed=6))
    model = (first / "model.seqloom").read_bytes()
    assert model == (second / "model.seqloom").read_bytes()
    assert model != (other / "model.seqloom").read_bytes()
    assert [line["loss_hex"] for line in read_log(first)] == [line["loss_hex"] for line in read_log(second)]
    assert read_log(first)[0]["loss_hex"] != read_log(other)[0]["loss_hex"]


def test_the_log_says_each_loss_twice(tmp_path: Path) -> None:
    lines = read_log(trained(tmp_path))
    steps = [line for line in lines if "valid" not in line]
    validations = [line for line in lines if "valid" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in validations] == [3, 6]
    assert all(float.fromhex(line["loss_hex"]) == line["loss"] for line in steps)
    assert all(float.fromhex(line["loss_hex"]) == line["valid"]["loss"] for line in validations)
    # Two warm-up steps up to the rate, then a cosine towards zero.
    np.testing.assert_allclose([line["lr"] for line in steps[:3]], [1e-3, 2e-3, 2e-3])
    assert all(a["lr"] > b["lr"] > 0 for a, b in itertools.pairwise(steps[2:]))


def test_a_line_that_a_kill_cut_off_is_not_read(tmp_path: Path) -> None:
    assert read_log(tmp_path) == []
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "lo')
    assert read_log(tmp_path) == [{"step": 1, "loss": 0.5}]


def test_the_log_says_how_large_gradients_and_updates_were(tmp_path: Path) -> None:
    """Norms are those before clipping.

    The decoder of a forecast begins at zero, so the core has no gradient in the first step, and AdamW moves each of
    its weights by (0.1 / 0.19) / sqrt(0.001 / 0.001999) of the rate in the second.
    """
    settings = {"max_norm": 1e-2, "lr": 1e-2, "weight_decay": 0.0, "warmup_steps": 0, "schedule": "constant"}
    recipe = forecast_recipe(steps=5, validate_every=2, average=0.0, **settings)
    steps = [line for line in read_log(trained(tmp_path, recipe)) if "valid" not in line]
    assert all(line["norm"] > 5e-2 for line in steps)
    assert [line["step"] for line in steps if "updates" in line] == [2, 4, 5]
    assert set(steps[1]["updates"]) == {"inputs", "layer 1", "layer 2", "outputs"}
    size = (6**-0.5) / 3**0.5  # expected root mean square of weights that are uniform in ±1/sqrt(H)
    assert steps[1]["updates"]["layer 2"] == pytest.approx(0.744e-2 / size, rel=0.1)


def ready(recipe: dict[str, Any], frame: pl.DataFrame | None = None) -> tuple[SequenceModel, Material]:
    """A built model with its material."""
    model = SequenceModel(parse_recipe(recipe))
    dataset = read_dataset(model, daily() if frame is None else frame)
    prepare(model, dataset)
    encoded = encode(dataset.segments, model.inputs, model.outputs)
    return model, Material(encoded, part_places(model, dataset, "train"), validation_places(model, dataset))


def test_the_best_weights_are_kept_not_the_last(tmp_path: Path) -> None:
    """With a rate that wrecks the model, what is returned is what scored best."""
    model, material = ready(forecast_recipe(steps=40, validate_every=2, lr=0.5, average=0.0, warmup_steps=30))
    standing = train(model, material, tmp_path)
    losses = [line["valid"]["loss"] for line in read_log(tmp_path) if "valid" in line]
    assert standing.best_loss == min(losses) < losses[-1]
    assert measure(model, material.encoded, material.valid)["loss"] == standing.best_loss


def test_patience_ends_training(tmp_path: Path) -> None:
    recipe = forecast_recipe(steps=200, validate_every=2, lr=0.5, average=0.0, warmup_steps=10, patience=3)
    model, material = ready(recipe)
    standing = train(model, material, tmp_path)
    assert standing.bad_validations == 3
    assert standing.step == standing.best_step + 6 < 200


def test_a_small_model_learns_the_week(tmp_path: Path) -> None:
    model, material = ready(forecast_recipe(steps=60, validate_every=10, lr=0.01, average=0.0))
    before = measure(model, material.encoded, material.valid)["loss"]
    standing = train(model, material, tmp_path)
    assert standing.best_loss < 0.8 * before


def test_accumulated_batches_are_one_large_batch(tmp_path: Path) -> None:
    """Without dropout, four batches of 4 lead where one of 16 leads, as long as every target is observed."""
    frame = daily().with_columns(pl.col("y").fill_null(1.0))
    found = []
    for name, size, parts in (("large", 16, 1), ("small", 4, 4)):
        recipe = forecast_recipe(steps=3, batch_size=size, accumulate=parts, average=0.0)
        recipe["core"]["dropout"] = recipe["outputs"]["coming"]["dropout"] = 0.0
        recipe["inputs"]["region"]["unknown_rate"] = 0.0
        recipe["data"]["split"] = {"valid": 0.2, "test": 0.2}
        torch.set_default_dtype(torch.float64)
        try:
            model, material = ready(recipe, frame)
            full = material.train.take(np.flatnonzero(material.train.origin > 21))  # behind the gaps
            (tmp_path / name).mkdir()
            train(model, Material(material.encoded, full, material.valid), tmp_path / name)
        finally:
            torch.set_default_dtype(torch.float32)
        found.append(model.state_dict())
    large, small = found
    for name, weight in large.items():
        torch.testing.assert_close(small[name], weight, rtol=1e-7, atol=1e-9)


def test_a_loss_that_is_no_number_stops_with_step_and_tensor(tmp_path: Path, cli: Callable[..., Outcome]) -> None:
    recipe_file, table = write(tmp_path, forecast_recipe(steps=50), daily())
    run = tmp_path / "run"
    found = cli("train", recipe_file, "--data", table, "-o", run, "training.lr=1e30", "training.warmup_steps=0")
    assert found.code == 1
    assert "error: step 2: the loss is" in found.err
    assert "the first tensor that is not finite is the " in found.err
    assert "No checkpoint was written at this step. Next: lower training.lr or training.max_norm" in found.err
    assert "Traceback" not in found.err
    assert not (run / "model.seqloom").exists()
    assert [path.name for path in (run / "checkpoints").glob("step-*")] == ["step-00000000"]


@pytest.mark.parametrize(
    ("plant", "named"),
    [("weight", "weight core.layers.0.0.weight_hh"), ("input", "input rain"), ("output", "the output of core.layers")],
)
def test_the_first_bad_tensor_is_named(tmp_path: Path, plant: str, named: str) -> None:
    model, material = ready(forecast_recipe())
    with torch.no_grad():
        if plant == "weight":
            model.get_parameter("core.layers.0.0.weight_hh")[0, 0] = float("nan")
        elif plant == "input":
            material.encoded.inputs["rain"][:] = float("inf")
    if plant == "output":
        with torch.no_grad():
            for part in model.outputs["coming"].parameters():
                part.fill_(1e38)
        named = "the output of _outputs.0"
    with pytest.raises(NonFiniteError, match=f"step 1: the loss is (nan|inf); .* is {named}"):
        train(model, material, tmp_path)


def test_every_row_is_read_equally_often() -> None:
    for count, size in ((7, 3), (5, 5), (11, 4)):
        rows = np.concatenate([rows_of_step(count, size, 9, step) for step in range(count)])
        assert np.bincount(rows).tolist() == [size] * count
        assert not np.array_equal(rows_of_step(count, size, 9, 0), rows_of_step(count, size, 10, 0))


def test_an_epoch_is_read_to_its_end_before_the_next_begins() -> None:
    rows = np.concatenate([rows_of_step(7, 3, 1, step) for step in range(7)])
    for epoch in range(3):
        assert sorted(rows[7 * epoch : 7 * epoch + 7].tolist()) == list(range(7))


def test_too_little_memory_is_found_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, material = ready(forecast_recipe())

    def full(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")

    monkeypatch.setattr(type(model), "read", full)
    with pytest.raises(
        SeqloomError, match=r"the longest batch \(8 rows of 18 steps\) does not fit into memory"
    ) as found:
        train(model, material, tmp_path)
    assert "lower training.batch_size" in str(found.value)
    assert not (tmp_path / "log.jsonl").exists()


def test_bfloat16_trains_and_states_finite_answers(tmp_path: Path) -> None:
    run = trained(tmp_path, forecast_recipe(precision="bfloat16"))
    model = load_artefact(run / "model.seqloom").model
    assert all(weight.dtype == torch.float32 for weight in model.parameters())
    assert all(np.isfinite(line["loss"]) for line in read_log(run) if "loss" in line)


def test_settings_reach_the_optimiser(tmp_path: Path) -> None:
    """The running mean differs from the last weights, and decay 0 is the last weights."""
    plain = load_artefact(trained(tmp_path / "a", forecast_recipe(average=0.0)) / "model.seqloom").model
    mean = load_artefact(trained(tmp_path / "b", forecast_recipe(average=0.9)) / "model.seqloom").model
    assert any(not torch.equal(a, b) for a, b in zip(plain.parameters(), mean.parameters(), strict=True))
    assert TrainingSettings().schedule == "cosine"


def test_validation_is_not_disturbed_by_chance(tmp_path: Path) -> None:
    """Dropout and hidden categories are off: measuring twice gives the same to the last bit."""
    model, material = ready(forecast_recipe())
    first = measure(model, material.encoded, material.valid)
    assert first == measure(model, material.encoded, material.valid)
    model.train()
    batch = cut(material.encoded, material.train.take(slice(0, 8)), model.inputs, model.outputs)
    with torch.no_grad():
        assert not torch.equal(model.join(batch).values, model.join(batch).values)


def test_the_callers_torch_is_left_as_it_was(tmp_path: Path) -> None:
    """Threads, determinism, memory and random numbers are the recipe's while training, the caller's afterwards."""
    model, material = ready(forecast_recipe(steps=2, threads=2, deterministic=True))
    memory: Any = torch.utils.deterministic
    seen: list[tuple[int, bool, bool]] = []

    def standing() -> tuple[int, bool, bool]:
        return (
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            memory.fill_uninitialized_memory,
        )

    class Watch(Watcher):
        def step(self, step: int, loss: float) -> None:
            seen.append(standing())

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(model, material, tmp_path, watcher=Watch())
    assert seen == [(2, True, False), (2, True, False)]
    assert standing() == (1, False, True)
    assert torch.equal(torch.rand(3), expected)


def test_outputs_are_told_how_much_of_the_training_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = BY_NAME["text-texts-text"]
    recipe = case.recipe(steps=4, validate_every=4)
    (name,) = recipe["outputs"]
    recipe["outputs"] = {name: {**recipe["outputs"][name], "teacher_forcing_ratio": 0.5}}
    seen: list[float] = []
    real = Text._mixed

    def spy(self: Text, told: Any, begin: Any, progress: float) -> Any:
        seen.append(progress)
        return real(self, told, begin, progress)

    monkeypatch.setattr(Text, "_mixed", spy)
    model, material = ready(recipe, case.frame())
    train(model, material, tmp_path)
    assert seen[-4:] == [0, 0.25, 0.5, 0.75]
