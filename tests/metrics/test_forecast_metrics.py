import json
import math
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import mean_absolute_error, mean_pinball_loss, mean_squared_error

from seqloom.errors import DataError
from seqloom.metrics import score_forecast, seasonal_scale


def frame(**changes: object) -> pl.DataFrame:
    """Two series, one window each, two steps; the last truth is missing."""
    columns: dict[str, object] = {
        "unique_id": ["a", "a", "b", "b"],
        "ds": [date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 2), date(2024, 1, 3)],
        "cutoff": [date(2024, 1, 1)] * 4,
        "step": [1, 2, 1, 2],
        "y": [10.0, 0.0, -4.0, None],
        "y_hat": [12.0, 0.0, -3.0, 100.0],
        "lo-80": [9.0, 1.0, -5.0, 0.0],
        "hi-80": [13.0, 3.0, -4.0, 0.0],
    }
    return pl.DataFrame(columns | changes)


def value(name: str, scales: dict[str, float] | None = None) -> float | None:
    return score_forecast(frame(), scales=scales or {"a": 2.0, "b": 4.0}).metrics[name].value


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MAE", (2 + 0 + 1) / 3),
        ("RMSE", math.sqrt((4 + 0 + 1) / 3)),
        ("sMAPE", 100 * (2 * 2 / 22 + 0 + 2 * 1 / 7) / 3),
        ("MASE", (2 / 2 + 0 + 1 / 4) / 3),
        ("bias", (2 + 0 + 1) / 3),
        ("WAPE", 100 * 3 / 14),
        ("coverage-80", 100 * 2 / 3),
        ("width-80", (4 + 2 + 1) / 3),
        ("winkler-80", (4 + (2 + 10 * 1) + 1) / 3),
    ],
)
def test_values_worked_out_by_hand(name: str, expected: float) -> None:
    assert value(name) == pytest.approx(expected)


def test_bias_has_the_sign_of_forecast_minus_truth() -> None:
    low = score_forecast(frame(y_hat=[8.0, -1.0, -6.0, 100.0]), scales={})
    assert low.metrics["bias"].value == pytest.approx((-2 - 1 - 2) / 3)


def test_series_without_a_usable_scale_are_left_out_of_mase() -> None:
    assert value("MASE", {"a": 2.0}) == pytest.approx((1 + 0) / 2)
    assert value("MASE", {"a": 2.0, "b": 0.0}) == pytest.approx((1 + 0) / 2)
    assert value("MASE", {"a": math.nan, "b": math.nan}) is None


def test_wape_of_an_all_zero_truth_is_undefined() -> None:
    zero = score_forecast(frame(y=[0.0, 0.0, 0.0, None]), scales={})
    assert zero.metrics["WAPE"].value is None
    assert zero.metrics["sMAPE"].value == pytest.approx(100 * (2 + 0 + 2) / 3)


def test_by_series_and_by_step_are_the_same_metrics_of_fewer_points() -> None:
    result = score_forecast(frame(), scales={"a": 2.0, "b": 4.0})
    assert result.series["a"]["MAE"] == pytest.approx(1.0)
    assert result.series["b"]["MASE"] == pytest.approx(0.25)
    assert list(result.steps) == ["1", "2"]
    assert result.steps["1"]["MAE"] == pytest.approx(1.5)
    assert result.steps["2"]["coverage-80"] == pytest.approx(0.0)
    assert result.windows == 2


def random_frame(windows: int, horizon: int) -> pl.DataFrame:
    random = np.random.default_rng(5)
    rows = windows * horizon
    y = random.normal(20, 5, rows)
    y_hat = y + random.normal(0, 2, rows)
    y[random.random(rows) < 0.2] = np.nan
    start = date(2024, 1, 1)
    return pl.DataFrame(
        {
            "unique_id": ["s"] * rows,
            "cutoff": [start + timedelta(days=w) for w in range(windows) for _ in range(horizon)],
            "step": list(range(1, horizon + 1)) * windows,
            "y": y,
            "y_hat": y_hat,
            "lo-80": y_hat - 2.5,
            "hi-80": y_hat + 2.6,
        }
    )


def test_agreement_with_scikit_learn() -> None:
    table = random_frame(40, 5)
    seen = table.filter(pl.col("y").is_finite())
    metrics = score_forecast(table, scales={}).metrics
    assert metrics["MAE"].value == pytest.approx(mean_absolute_error(seen["y"], seen["y_hat"]))
    assert metrics["RMSE"].value == pytest.approx(math.sqrt(mean_squared_error(seen["y"], seen["y_hat"])))
    quantiles = {0.1: "lo-80", 0.5: "y_hat", 0.9: "hi-80"}
    losses = [mean_pinball_loss(seen["y"], seen[name], alpha=q) for q, name in quantiles.items()]
    assert metrics["pinball"].value == pytest.approx(np.mean(losses))


def test_interval_holds_windows_together() -> None:
    """Errors equal within a window: the spread must be that of window means, not of points."""
    errors = np.repeat(np.random.default_rng(0).exponential(size=50), 20)
    table = random_frame(50, 20).with_columns(pl.lit(0.0).alias("y"), pl.Series("y_hat", errors))
    mae = score_forecast(table, scales={}).metrics["MAE"]
    assert mae.lo is not None
    assert mae.hi is not None
    by_window = 2 * 1.96 * errors.std() / math.sqrt(50)
    assert mae.hi - mae.lo == pytest.approx(by_window, rel=0.15)


def test_units_receipts_and_json() -> None:
    shape = json.loads(json.dumps(score_forecast(frame(), scales={}, unit="°C").to_json(), allow_nan=False))
    assert shape["metrics"]["MAE"]["unit"] == "°C"
    assert shape["metrics"]["sMAPE"]["unit"] == "%"
    assert shape["metrics"]["coverage-80"]["better"] == "nominal"
    assert shape["metrics"]["MAE"]["receipt"].startswith("MAE|mean |y - f|, pooled over all observed")
    assert set(shape) == {"metrics", "series", "steps", "windows"}


def test_a_table_without_intervals_gives_point_metrics_only() -> None:
    result = score_forecast(frame().drop("lo-80"), scales={})
    assert list(result.metrics) == ["MAE", "RMSE", "sMAPE", "MASE", "bias", "WAPE"]


def test_missing_column_is_named() -> None:
    with pytest.raises(DataError, match=r"lack the column\(s\) cutoff: got unique_id"):
        score_forecast(frame().drop("cutoff"), scales={})


def test_a_missing_forecast_of_an_observed_point_is_an_error() -> None:
    message = "1 of 3 observed points have no finite y_hat, first: series b, cutoff 2024-01-01, step 1"
    with pytest.raises(DataError, match=message):
        score_forecast(frame(y_hat=[1.0, 1.0, None, 1.0]), scales={})
    with pytest.raises(DataError, match="no finite hi-80"):
        score_forecast(frame(**{"hi-80": [1.0, math.nan, 1.0, 1.0]}), scales={})


def test_nothing_observed_is_an_error() -> None:
    with pytest.raises(DataError, match="0 of 4 points have an observed y"):
        score_forecast(frame(y=[None, math.nan, None, None]), scales={})


def test_seasonal_scale_skips_pairs_with_a_gap() -> None:
    y = np.array([1.0, 2.0, 4.0, np.nan, 9.0, 1.0])
    assert seasonal_scale(y, 2) == pytest.approx((3 + 5) / 2)  # pairs (1, 4) and (4, 9)
    assert math.isnan(seasonal_scale(y, 6))
    assert math.isnan(seasonal_scale(y[:1], 7))
