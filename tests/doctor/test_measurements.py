"""Each measurement against a case whose answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from classic_tasks import adding, adding_recipe, copy, copy_recipe
from clinic import seen

from catalogue import BY_NAME, OWN_CELL, build
from flows import daily, forecast_recipe
from seqloom.batch import cut, encode
from seqloom.dataset import part_places
from seqloom.doctor.course import course
from seqloom.doctor.dead import dead_share
from seqloom.doctor.diseases import DISEASES
from seqloom.doctor.examine import Patient, begin, trace_some
from seqloom.doctor.gradient import gradient_by_lag
from seqloom.doctor.growth import jacobian_growth, mean_growth
from seqloom.doctor.memory import memory_steps
from seqloom.doctor.reach import Reach, reach
from seqloom.doctor.saturation import saturated_shares
from seqloom.doctor.trace import trace
from seqloom.doctor.walk import Walk, walk
from seqloom.recipe import TrainingSettings, parse_recipe


def patient(cell: str, **core: Any) -> Patient:
    """Untrained, on sums of two of twelve numbers."""
    recipe = adding_recipe({"cell": cell, "hidden_size": 5, **core}, {"seed": 4})
    return begin(parse_recipe(recipe), adding(300, 12))


@torch.no_grad()
def as_line(subject: Patient, factor: float) -> None:
    """A recurrence that is a mere multiplication: tiny inputs, a diagonal matrix."""
    for (cell,) in subject.model.core.cells():
        for weight in cell.parameters():
            weight.mul_(1e-3)
        cell.get_parameter("weight_hh").copy_(factor * torch.eye(cell.hidden_size))


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.2])
def test_a_linear_recurrence_has_a_known_gradient(factor: float) -> None:
    subject = patient("rnn")
    as_line(subject, factor)
    traced, _ = trace_some(subject)
    (curve,) = gradient_by_lag(subject.model, traced).values()
    np.testing.assert_allclose(curve / curve[0], factor ** np.arange(11), rtol=2e-3)
    assert jacobian_growth(traced.tracks[0]) == pytest.approx(factor, rel=1e-3)


def test_a_gradient_of_answers_at_every_step_is_that_of_the_last() -> None:
    """With all answers in the loss, near ones would hide how far a single one reaches."""
    recipe = copy_recipe({"cell": "rnn", "hidden_size": 5}, {})
    subject = begin(parse_recipe(recipe), copy(60, 10, copied=3))
    as_line(subject, 0.5)
    traced, _ = trace_some(subject)
    (curve,) = gradient_by_lag(subject.model, traced).values()
    np.testing.assert_allclose(curve / curve[0], 0.5 ** np.arange(15), rtol=2e-3)


@pytest.mark.parametrize(
    "name", [name for name, case in BY_NAME.items() if any(part in name for part in ("-all-", "-both-", "-wrapped-"))]
)
def test_every_cell_and_output_is_measured(name: str) -> None:
    """Tracing changes neither answers nor model, and every figure is one."""
    built = build(BY_NAME[name])
    batch = cut(built.encoded, built.places, built.model.inputs, built.model.outputs)
    before = {name: weight.clone() for name, weight in built.model.state_dict().items()}
    with torch.no_grad():
        expected = built.model(batch)
    traced = trace(built.model, batch)
    for output, answer in traced.raw.items():
        torch.testing.assert_close(answer, expected[output], rtol=1e-4, atol=1e-4, equal_nan=True)
    curves = gradient_by_lag(built.model, traced)
    for track in traced.tracks:
        steps = walk(track)
        assert np.isfinite(curves[track.name]).all()
        assert len(steps.outputs) == int(track.lengths.sum())
        assert 0 <= dead_share(steps) <= 1
        assert all(0 <= share <= 1 for share in saturated_shares(steps).values())
        assert (memory_steps(steps) or 1.0) > 0
        assert "step" not in vars(track.cell)
        assert "project" not in vars(track.cell)
    found = reach(built.model, built.encoded, built.places)
    assert found.steps is not None or found.reason
    assert all(torch.equal(weight, before[name]) for name, weight in built.model.state_dict().items())
    assert (built.model.core.backend, built.model.training) == ("auto", False)


def test_what_is_put_around_a_cell_does_not_hide_it() -> None:
    """With dropout off in evaluation, a learned state that begins at zero and no zoneout, all is as without."""
    plain, wrapped = patient("lstm"), patient("lstm", learned_state=True, recurrent_dropout=0.5)
    before, after = seen(plain)[0].layers[0], seen(wrapped)[0].layers[0]
    np.testing.assert_allclose(after.gradient, before.gradient, rtol=1e-5)
    assert (after.saturated, after.memory) == (before.saturated, before.memory)
    zoned = seen(patient("lstm", zoneout=0.5))[0].layers[0]
    assert zoned.left(8) > 4 * before.left(8), "half of each state is kept besides what the gates keep"


def test_a_cell_of_your_own_without_equations_is_measured_without_gates() -> None:
    subject = begin(parse_recipe(adding_recipe({"cell": OWN_CELL, "hidden_size": 5}, {})), adding(300, 12))
    findings, _ = seen(subject)
    (layer,) = findings.layers
    assert (layer.saturated, layer.memory) == ({}, None)
    assert len(layer.gradient) == 11
    assert layer.growth == pytest.approx(0.7, abs=0.25)  # it leaks 30 % a step


def steps_of(outputs: torch.Tensor, shares: dict[str, torch.Tensor] | None = None) -> Walk:
    return Walk(outputs, None, None, {}, shares or {})


def test_dead_units_are_those_that_never_move() -> None:
    random = torch.Generator().manual_seed(0)
    outputs = torch.randn(500, 8, generator=random) * 0.3
    outputs[:, 0] = 1.0
    outputs[:, 1] = 0.5 + 1e-4 * outputs[:, 1]
    assert dead_share(steps_of(outputs)) == 2 / 8
    assert dead_share(steps_of(outputs * 0)) == 1


def test_memory_is_the_mean_time_until_forgetting() -> None:
    share = torch.full((100, 10), 0.5)
    share[:, 5:] = 0.99
    assert memory_steps(steps_of(share, {"c": share})) == pytest.approx(100, rel=1e-3)
    assert memory_steps(steps_of(share)) is None
    assert memory_steps(steps_of(share, {"c": torch.ones(3, 4)})) == pytest.approx(1e6)


@torch.no_grad()
def test_flat_gates_are_counted_by_function() -> None:
    values = {"i": torch.tensor([[0.01, 0.5, 0.99, 0.9]]), "g": torch.tensor([[-0.99, 0.0, 0.9, 0.96]])}
    walked = Walk(torch.zeros(1, 4), None, values, {"i": "sigmoid", "g": "tanh"}, {})
    assert saturated_shares(walked) == {"i": 0.5, "g": 0.5}


def test_growth_stops_where_float32_does() -> None:
    curve = np.array([1.0, 1e10, 1e20, 1e30, np.inf, np.nan])
    assert mean_growth(curve) == pytest.approx(1e10)
    assert mean_growth(np.array([1.0, 0.0, 0.0])) == 0.0
    assert np.isnan(mean_growth(np.array([1.0])))


def reach_of(recipe: dict[str, Any], frame: pl.DataFrame) -> Reach:
    subject = begin(parse_recipe(recipe), frame)
    encoded = encode(subject.dataset.segments, subject.model.inputs, subject.model.outputs)
    return reach(subject.model, encoded, part_places(subject.model, subject.dataset, "train", subject.model.block))


@pytest.mark.parametrize("silence", [5, 40])
def test_the_lag_of_an_echo_is_found(silence: int) -> None:
    found = reach_of(copy_recipe({}, {}), copy(300, silence, copied=4))
    assert found.steps in (silence + 4, silence + 5)  # the embeddings may tell a symbol from the next one's products
    assert sum(found.explained.values()) > 0.9


def test_a_sum_reaches_as_far_as_its_terms() -> None:
    found = reach_of(adding_recipe({}, {}), adding(2000, 30))
    assert found.steps is not None
    assert 22 <= found.steps <= 30


def test_what_near_steps_say_already_is_not_counted_again() -> None:
    """A random walk depends on its value long ago, but knowing the last one leaves nothing of that."""
    recipe = forecast_recipe()
    recipe["data"]["context_length"] = 40
    recipe["inputs"] = {"past": {"kind": "series", "columns": ["y"]}}
    frame = daily(400)
    walk = np.random.default_rng(0).normal(size=len(frame)).cumsum()
    found = reach_of(recipe, frame.with_columns(y=pl.Series(walk)))
    assert found.steps in (1, 2)


def test_chance_is_no_reach() -> None:
    random = np.random.default_rng(5)
    noise = adding(600, 60).with_columns(pl.Series("sum", random.normal(size=600)))
    assert reach_of(adding_recipe({}, {}), noise) == (None, {}, "no lag was found to matter")


def test_few_answers_say_nothing() -> None:
    found = reach_of(adding_recipe({}, {}), adding(100, 9))
    assert (found.steps, found.reason) == (None, "70 answers are known; expected 200 or more")


def test_the_course_leaves_the_warm_up_out() -> None:
    lines: list[dict[str, Any]] = [
        {"step": k, "loss": 10.0 / k, "norm": 0.5 if k <= 10 else 3.0, "updates": {"layer 1": 0.1 / k}}
        for k in range(1, 51)
    ]
    found = course([*lines, {"step": 50, "valid": {"loss": 1.0}}], TrainingSettings(warmup_steps=10, max_norm=1.0))
    assert found is not None
    assert (found.steps, found.clipped, found.norm, found.high_norm) == (50, 1.0, 3.0, 3.0)
    assert found.updates == {"layer 1": 0.1}
    assert found.first_loss == pytest.approx(10 / 3)
    assert course([], TrainingSettings()) is None


def test_names_that_one_disease_hides_are_names_of_others() -> None:
    names = [disease.name for disease in DISEASES]
    assert len(set(names)) == len(names) >= 8
    for place, disease in enumerate(DISEASES):
        assert set(disease.explains) <= set(names[place + 1 :]), "a cause stands before what follows from it"
