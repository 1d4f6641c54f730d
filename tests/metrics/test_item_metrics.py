"""Metrics of lists of items against their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seqloom.errors import DataError
from seqloom.metrics.items import score_items
from seqloom.metrics.result import Result

NAN = float("nan")


def scored(rank: list[float], **changes: object) -> Result:
    n = len(rank)
    given: dict[str, object] = {
        "rank": np.array(rank),
        "candidates": np.full(n, 11.0),
        "log_p": np.full(n, math.log(0.25)),
        "mass": np.full(n, 0.5),
        "among": np.full(n, NAN),
        "sequence": [str(k) for k in range(n)],
        "step": np.ones(n, np.int64),
        "k": 2,
        "repeats": True,
        "negatives": None,
    }
    return score_items(**{**given, **changes})  # type: ignore[arg-type]


def value(result: Result, name: str) -> float:
    found = result.metrics[name].value
    assert found is not None
    return found


def test_ranking_metrics() -> None:
    found = scored([1, 2, 2.5, 11])
    assert value(found, "Hit@2") == 50
    assert value(found, "NDCG@2") == pytest.approx(100 * (1 + 1 / math.log2(3)) / 4)
    assert value(found, "MRR@2") == pytest.approx(100 * 1.5 / 4)
    assert value(found, "AUC") == pytest.approx((10 + 9 + 8.5 + 0) / 40)
    assert "Hit@2/4" not in found.metrics


def test_perplexity_and_bits_leave_unknown_items_out_and_count_them() -> None:
    found = scored([1, 1, 12], log_p=np.array([math.log(0.5), math.log(0.125), NAN]))
    assert value(found, "bits") == pytest.approx(2)
    assert value(found, "perplexity") == pytest.approx(4)
    assert value(found, "unseen") == pytest.approx(100 / 3)
    assert value(found, "Hit@2") == pytest.approx(200 / 3)


def test_lists_that_claim_what_they_hold_are_calibrated() -> None:
    mass = np.repeat([0.2, 0.8], 500)
    truth = np.where(np.arange(1000) % 500 < 500 * mass, 1.0, 9.0)
    shuffled = np.random.default_rng(0).permutation(500)
    truth = np.concatenate([truth[:500][shuffled], truth[500:][shuffled]])
    assert value(scored(truth.tolist(), mass=mass), "ECE@2") < 6
    assert value(scored(truth.tolist(), mass=1 - mass), "ECE@2") == pytest.approx(60, abs=1e-9)


def test_drawn_items_have_metrics_of_their_own() -> None:
    found = scored([9, 9, 9, 9], among=np.array([1.0, 2, 3, 3]), negatives=3)
    assert value(found, "Hit@2") == 0
    assert value(found, "Hit@2/4") == 50
    assert "3 items of the training part, drawn" in found.metrics["Hit@2/4"].receipt


def test_the_receipt_states_candidates_and_ties() -> None:
    every, fresh = (scored([1, 2], repeats=r).metrics["Hit@2"].receipt for r in (True, False))
    assert "candidates: all items of the training part;" in every
    assert "but those that the sequence holds already" in fresh
    assert "half of those with the same" in every


def test_long_sequences_are_resampled_in_stretches() -> None:
    many = np.arange(1, 2001)
    found = scored([1.0] * 2000, sequence=["one"] * 2000, step=many)
    assert found.windows == 5
    assert found.metrics["Hit@2"].lo == 100
    assert scored([1.0] * 3, sequence=["a", "a", "b"]).windows == 2


def test_nothing_to_score() -> None:
    with pytest.raises(
        DataError, match="no step asks for an item that is known; expected sequences of 2 items or more"
    ):
        scored([])
