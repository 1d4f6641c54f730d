"""Metrics of being liked, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from seqloom.errors import DataError
from seqloom.metrics.liked import LEVELS, levels, score_liked


def drawn(count: int, seed: int, decimals: int = 9) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    p = random.uniform(size=count).round(decimals)
    return random.uniform(size=count) < p, p


@pytest.mark.parametrize(("count", "decimals"), [(LEVELS, 9), (5000, 2), (30, 1)])
def test_auc_of_few_values_is_that_of_all_pairs(count: int, decimals: int, seed: int) -> None:
    liked, p = drawn(count, seed, decimals)
    found = score_liked(liked, p, sequence=range(count)).metrics
    assert found["AUC"].value == pytest.approx(roc_auc_score(liked, p), abs=1e-12)
    assert found["log-loss"].value == pytest.approx(log_loss(liked, np.clip(p, 1e-15, 1 - 1e-15)), rel=1e-3)
    assert found["accuracy"].value == pytest.approx(100 * ((p >= 0.5) == liked).mean())


def test_auc_of_many_values_is_near_that_of_all_pairs(seed: int) -> None:
    liked, p = drawn(50_000, seed)
    found = score_liked(liked, p, sequence=(np.arange(50_000) // 100).tolist())
    value = found.metrics["AUC"].value
    assert value == pytest.approx(roc_auc_score(liked, p), abs=1e-4)
    assert found.metrics["AUC"].lo is not None
    assert found.metrics["AUC"].hi is not None
    assert found.metrics["AUC"].lo < value < found.metrics["AUC"].hi
    assert found.windows == 500


def test_levels_are_equally_large_and_equal_values_share_one(seed: int) -> None:
    _, p = drawn(10_000, seed)
    found = levels(p)
    assert np.bincount(found).max() <= 10_000 / LEVELS + 1
    assert (np.diff(found[np.argsort(p)]) >= 0).all()
    tied = levels(np.repeat([0.3, 0.1, 0.7], [500, 20, 3]))
    assert [len(set(part)) for part in np.split(tied, [500, 520])] == [1, 1, 1]
    assert len(set(tied)) == 3


def test_calibration_is_the_gap_of_what_was_said_and_what_held() -> None:
    liked, p = np.array([True, True, False, True]), np.array([0.9, 0.9, 0.9, 0.1])
    found = score_liked(liked, p, sequence=["a", "a", "b", "b"])
    assert found.metrics["calibration-error"].value == pytest.approx(100 * (3 * (0.9 - 2 / 3) + 0.9) / 4)
    assert [(row["stated"], row["held"], row["count"]) for row in found.reliability] == [
        (pytest.approx(0.1), 1.0, 1),
        (pytest.approx(0.9), pytest.approx(2 / 3), 3),
    ]


def test_one_side_alone_has_no_auc() -> None:
    found = score_liked(np.array([True, True]), np.array([0.2, 0.9]), sequence=["a", "b"])
    assert found.metrics["AUC"].value is None
    assert found.metrics["accuracy"].value == 50


def test_nothing_rated_is_refused() -> None:
    with pytest.raises(DataError, match="nothing to score: no item that is asked for has a rating"):
        score_liked(np.zeros(0, bool), np.zeros(0), sequence=[])
