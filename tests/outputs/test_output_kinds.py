"""Outputs: losses, answers and calibration against the plain formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from seqloom.data.segments import Segments
from seqloom.errors import DataError
from seqloom.outputs.category import Category
from seqloom.outputs.forecast import Forecast
from seqloom.outputs.labels import Labels
from seqloom.outputs.number import Number
from seqloom.outputs.output import Output, Places, masked_cross_entropy
from seqloom.scaling import Scale

NAN = float("nan")


def made(kind: type[Output], **settings: Any) -> Any:
    name = kind.__name__.lower()
    return kind(name, kind.Settings.model_validate({"kind": name, **settings}))


def scale(loc: float, spread: float) -> Scale:
    return Scale(torch.tensor([[loc]], dtype=torch.float64), torch.tensor([[spread]], dtype=torch.float64))


def test_pinball_loss_is_the_formula() -> None:
    """Doubled, mean over quantiles, then over observed targets, in scaled units."""
    output = made(Forecast, horizon=2, intervals=[80])
    assert output.quantiles == [0.1, 0.5, 0.9]
    raw = torch.tensor([[[[-1.0, 0.5, 2.0]], [[0.0, 0.0, 0.0]]]], dtype=torch.float64)
    target = torch.tensor([[[14.0], [NAN]]], dtype=torch.float64)  # scaled: (14 - 10) / 4 = 1
    errors = {0.1: 1 - -1.0, 0.5: 1 - 0.5, 0.9: 1 - 2.0}
    pinball = [2 * max(q * e, (q - 1) * e) for q, e in errors.items()]
    found = output.loss(raw, target, scale(10, 4))
    assert float(found) == pytest.approx(sum(pinball) / 3)


def test_the_median_loss_is_the_absolute_error() -> None:
    output = made(Forecast, horizon=1, intervals=[])
    raw = torch.tensor([[[[3.0]]]], dtype=torch.float64)
    assert float(output.loss(raw, torch.tensor([[[5.5]]], dtype=torch.float64), scale(0, 1))) == pytest.approx(2.5)


@pytest.mark.parametrize("kind", [Number, Forecast])
def test_no_target_at_all_is_zero_with_a_gradient(kind: type[Output]) -> None:
    output = made(kind, **({"horizon": 1} if kind is Forecast else {}))
    shape = (2, 1, 1, 5) if kind is Forecast else (2, 1)
    raw = torch.zeros(shape, requires_grad=True)
    loss = output.loss(raw, torch.full(shape[:3], NAN, dtype=torch.float64), scale(0, 1))
    loss.backward()
    assert float(loss.detach()) == 0
    assert raw.grad is not None
    assert bool((raw.grad == 0).all())


def test_cross_entropy_leaves_unknown_labels_out() -> None:
    logits = torch.tensor([[0.0, 2.0], [5.0, -1.0], [1.0, 1.0]], requires_grad=True)
    loss = masked_cross_entropy(logits, torch.tensor([1, -1, 0]), 0.0)
    expected = (np.log(1 + np.exp(-2)) + np.log(2)) / 2
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-6)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[1].tolist() == [0, 0]
    nothing = masked_cross_entropy(logits, torch.tensor([-1, -1, -1]), 0.1)
    assert float(nothing.detach()) == 0
    nothing.backward()


def test_answers_are_natural_ordered_and_corrected() -> None:
    output = made(Forecast, horizon=1, intervals=[80])
    raw = torch.tensor([[[[1.0, 0.0, -1.0]]]])  # crossing quantiles are put in order
    assert output.answers(raw, scale(10, 2)).tolist() == [[[[8.0, 10.0, 12.0]]]]
    output.restore({"correction": [[[-0.5, 0.0, 0.5]]]})
    assert output.answers(raw.flip(-1), scale(10, 2)).tolist() == [[[[7.0, 10.0, 13.0]]]]
    assert output.fitted() == {"correction": [[[-0.5, 0.0, 0.5]]]}


def test_calibration_makes_intervals_cover_their_share(seed: int) -> None:
    """Intervals far too narrow, then far too wide, cover 80 % of fresh windows once calibrated."""
    random = np.random.default_rng(seed)
    for width in (0.1, 5.0):
        output = made(Forecast, horizon=1, intervals=[80])
        wide = Scale(torch.zeros(600, 1, dtype=torch.float64), torch.ones(600, 1, dtype=torch.float64))
        raw = torch.tensor([-width, 0.0, width], dtype=torch.float64).expand(600, 1, 1, 3)
        truth = random.normal(size=(600, 1, 1))
        output.calibrate(output.answers(raw, wide), truth, wide)
        answers, fresh = output.answers(raw, wide), random.normal(size=(600, 1, 1))
        covered = ((fresh >= answers[..., 0]) & (fresh <= answers[..., 2])).mean()
        assert 0.72 < covered < 0.88
        assert (answers[..., 1] == 0).all()


def test_calibration_takes_missing_truth_out() -> None:
    output = made(Forecast, horizon=1, intervals=[50])
    one = Scale(torch.zeros(8, 1, dtype=torch.float64), torch.ones(8, 1, dtype=torch.float64))
    raw = torch.zeros(8, 1, 1, 3, dtype=torch.float64)
    output.calibrate(output.answers(raw, one), np.full((8, 1, 1), NAN), one)
    assert np.isfinite(output.correction).all()
    assert (output.correction == 0).all()


@pytest.mark.parametrize("levels", [[0], [100], [80, -5]])
def test_intervals_are_percentages(levels: list[int]) -> None:
    with pytest.raises(ValueError, match=r"expected percentages between 1 and 99, such as \[80, 95\]"):
        made(Forecast, horizon=1, intervals=levels)


def test_intervals_in_any_order_are_sorted_once() -> None:
    output = made(Forecast, horizon=1, intervals=[95, 80, 95])
    assert output.quantiles == [0.025, 0.1, 0.5, 0.9, 0.975]
    assert output.interval_ends() == [(1, 3, 80), (0, 4, 95)]


def test_numbers_in_natural_units_with_the_absolute_error() -> None:
    output = made(Number)
    output.fit(np.array([10.0, 14.0]))  # mean 12, deviation 2
    assert output.encode(np.array([16.0, NAN]))[0].tolist() == [2.0]
    raw = torch.tensor([[1.0], [9.0]])
    assert float(output.loss(raw, output.encode(np.array([16.0, NAN])), None)) == pytest.approx(1.0)
    assert output.answers(raw, None).tolist() == [[14.0], [30.0]]


@pytest.mark.parametrize("kind", [Category, Labels])
def test_classes_are_those_of_the_training_part(kind: type[Output]) -> None:
    output = made(kind)
    output.fit(np.array(["b", "a", "b", None], dtype=object))
    assert output.encode(np.array(["a", "b", "new", None], dtype=object)).flatten().tolist() == [1, 0, -1, -1]
    answers = output.answers(torch.tensor([[0.0, np.log(3.0)]]), None)
    np.testing.assert_allclose(answers, [[0.25, 0.75]])
    with pytest.raises(DataError, match=r"the training part has no label at all; expected two classes or more"):
        made(kind).fit(np.array([None, None], dtype=object))


def test_monitors_leave_unknown_truth_out() -> None:
    labels = made(Labels)
    labels.fit(np.array(["a", "b"], dtype=object))
    answers = np.array([[[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]])
    assert labels.monitor(answers, np.array([[[0], [0], [-1]]])) == ("accuracy", 0.5)
    assert np.isnan(labels.monitor(answers, np.full((1, 3, 1), -1))[1])
    forecast = made(Forecast, horizon=2, intervals=[])
    assert forecast.monitor(np.array([[[[3.0]], [[9.0]]]]), np.array([[[5.0], [NAN]]])) == ("MAE", 2.0)


def test_a_frame_without_truth_holds_none() -> None:
    """A table that is only answered need not have the column that is asked for."""
    output = made(Category)
    output.fit(np.array(["a", "b"], dtype=object))
    segments = Segments(["one", "two"], np.array([0, 1, 1]), {}, {})
    places = Places(*(np.array([0, 1]) for _ in range(4)))
    frame = output.frame(np.array([[0.3, 0.7], [1.0, 0.0]]), segments, places)
    assert frame.rows() == [("one", None, "b", 0.3, 0.7), ("two", None, "a", 1.0, 0.0)]
