"""Reliability diagrams and the error made from them."""

from __future__ import annotations

import numpy as np
import pytest

from seqloom.metrics import score_category, score_labels
from seqloom.metrics.calibration import BINS, expected_gap, gaps, reliability
from seqloom.metrics.groups import Groups


def test_the_error_is_that_of_the_diagram() -> None:
    random = np.random.default_rng(1)
    stated, held = random.random(500), random.random(500) < 0.4
    stated[:3] = 0.0, 1.0, 1 / BINS  # edges
    curve = reliability(stated, held)
    by_hand = sum(row["count"] * abs(row["stated"] - row["held"]) for row in curve) / 500
    found = expected_gap(gaps(stated, held, Groups.whole(500)))[0]
    assert found == pytest.approx(100 * by_hand)
    assert sum(row["count"] for row in curve) == 500
    assert [row["stated"] for row in curve] == sorted(row["stated"] for row in curve)


def test_empty_bins_are_left_out() -> None:
    curve = reliability(np.array([0.05, 0.95, 0.97]), np.array([True, True, False]))
    assert curve == [
        {"stated": pytest.approx(0.05), "held": 1.0, "count": 1},
        {"stated": pytest.approx(0.96), "held": 0.5, "count": 2},
    ]


def test_labels_of_steps_have_one_too() -> None:
    """A step without a label counts for nothing."""
    y, y_hat = ["a", "b", None, "a"], ["a", "a", "a", "b"]
    chances = np.array([[0.8, 0.2], [0.8, 0.2], [0.99, 0.01], [0.3, 0.7]])
    found = score_labels(y, y_hat, sequence=[0, 0, 0, 1], labels=["a", "b"], probabilities=chances)
    same = score_category(y, y_hat, labels=["a", "b"], probabilities=chances)
    assert [(row["stated"], row["held"], row["count"]) for row in found.reliability] == [
        (pytest.approx(0.7), 0.0, 1),
        (pytest.approx(0.8), 0.5, 2),
    ]
    for name in ("log-loss", "calibration-error"):
        assert found.metrics[name].value == pytest.approx(same.metrics[name].value)
    assert found.windows == 2, "intervals over whole sequences"


def test_without_probabilities_nothing_is_claimed() -> None:
    found = score_labels(["a", "b"], ["a", "a"], sequence=[0, 0], labels=["a", "b"]).to_json()
    assert "reliability" not in found
    assert "log-loss" not in found["metrics"]
