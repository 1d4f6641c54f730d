from functools import partial

import numpy as np
import pytest

from seqloom.metrics.forecast import POINT_METRICS, Points, forecast_metrics
from seqloom.metrics.groups import Groups
from seqloom.metrics.receipt import Metric, ratio, root_ratio


def double(rows: Points, groups: Groups) -> np.ndarray:
    return groups.sums(2 * rows.y, np.ones_like(rows.y))


def triple(rows: Points, groups: Groups) -> np.ndarray:
    return groups.sums(3 * rows.y, np.ones_like(rows.y))


def power(rows: Points, groups: Groups, *, by: int) -> np.ndarray:
    return groups.sums(rows.y**by, np.ones_like(rows.y))


BASE = Metric("M", "", "lower", "mean 2y.", double, ratio)


def test_receipt_shows_name_definition_and_eight_hex_digits() -> None:
    name, definition, digest = BASE.receipt.split("|")
    assert (name, definition) == ("M", "mean 2y.")
    assert digest.startswith("sha:")
    assert len(digest) == 12
    assert int(digest[4:], 16) >= 0


@pytest.mark.parametrize(
    "other",
    [
        Metric("M", "", "lower", "mean 2 y.", double, ratio),
        Metric("M", "", "lower", "mean 2y.", triple, ratio),
        Metric("M", "", "lower", "mean 2y.", double, root_ratio),
        Metric("M", "", "lower", "mean 2y.", double, ratio, version=2),
    ],
    ids=["definition", "sums", "finish", "version"],
)
def test_anything_that_defines_the_value_changes_the_hash(other: Metric[Points]) -> None:
    assert other.receipt[-8:] != BASE.receipt[-8:]


def test_same_definition_and_computation_give_the_same_receipt() -> None:
    assert Metric("M", "%", "higher", "mean 2y.", double, ratio).receipt == BASE.receipt


def test_arguments_of_a_partial_are_part_of_the_computation() -> None:
    receipts = {Metric("M", "", "lower", "d", partial(power, by=by), ratio).receipt for by in (1, 2)}
    assert len(receipts) == 2


def test_names_and_receipts_of_forecast_metrics_differ_pairwise() -> None:
    metrics = forecast_metrics([50, 80])
    assert len({metric.name for metric in metrics}) == len(metrics) == len(POINT_METRICS) + 2 * 3 + 1
    assert len({metric.receipt for metric in metrics}) == len(metrics)
    assert all("missing y are left out" in metric.definition for metric in metrics)
