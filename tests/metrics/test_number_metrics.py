import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from seqloom.errors import DataError
from seqloom.metrics import score_number
from seqloom.metrics.number import explained


def test_agreement_with_scikit_learn_far_from_zero() -> None:
    random = np.random.default_rng(0)
    y = 1e6 + random.normal(size=200)
    y_hat = y + random.normal(size=200) / 3
    metrics = score_number(y, y_hat, unit="kg").metrics
    assert metrics["MAE"].value == pytest.approx(mean_absolute_error(y, y_hat))
    assert metrics["RMSE"].value == pytest.approx(root_mean_squared_error(y, y_hat))
    assert metrics["R2"].value == pytest.approx(r2_score(y, y_hat))
    assert (metrics["MAE"].unit, metrics["R2"].unit) == ("kg", "")


def test_interval_of_r2_agrees_with_resampling_by_scikit_learn() -> None:
    random = np.random.default_rng(1)
    y = random.normal(size=150)
    y_hat = y + random.normal(size=150)
    draws = random.integers(0, 150, (1000, 150))
    scores = [r2_score(y[draw], y_hat[draw]) for draw in draws]
    r2 = score_number(y, y_hat).metrics["R2"]
    assert [r2.lo, r2.hi] == pytest.approx(np.quantile(scores, [0.025, 0.975]), abs=0.06)


def test_constant_truth_has_no_r2() -> None:
    assert score_number(np.full(5, 0.1), np.arange(5.0)).metrics["R2"].value is None


def test_a_resample_of_one_value_has_no_r2() -> None:
    value, count = np.linspace(0.01, 1, 200), 7
    sums = np.stack([0 * value + 1, sum([value**2] * count), sum([value] * count), 0 * value + count], axis=-1)
    assert np.isnan(explained(sums)).all()


def test_unknown_truth_is_left_out() -> None:
    result = score_number(np.array([1.0, np.nan]), np.array([3.0, np.nan]))
    assert result.metrics["MAE"].value == 2.0
    assert result.windows == 1


def test_errors() -> None:
    with pytest.raises(DataError, match=r"shape \(2,\) and predictions \(1,\)"):
        score_number(np.ones(2), np.ones(1))
    with pytest.raises(DataError, match="0 of 2 examples have a finite y"):
        score_number(np.full(2, np.nan), np.ones(2))
    with pytest.raises(DataError, match="1 of 2 known examples have no finite prediction"):
        score_number(np.ones(2), np.array([1.0, np.inf]))
