import numpy as np
import pytest

from seqloom.metrics import bootstrap
from seqloom.metrics.bootstrap import percentile_interval, resample_sums


def naive_totals(sums: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    draws = random.integers(0, len(sums), (resamples, len(sums)))
    return np.array([sums[draw].sum(axis=0) for draw in draws])


def test_totals_equal_adding_up_the_drawn_groups() -> None:
    sums = np.random.default_rng(1).normal(size=(7, 3))
    np.testing.assert_allclose(resample_sums(sums, resamples=50, seed=4), naive_totals(sums, 50, 4))


def test_drawing_in_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = np.random.default_rng(1).normal(size=(7, 2))
    whole = resample_sums(sums, resamples=50)
    monkeypatch.setattr(bootstrap, "CELLS_AT_ONCE", 21)
    np.testing.assert_array_equal(resample_sums(sums, resamples=50), whole)


def test_seed_decides_the_draws() -> None:
    sums = np.random.default_rng(1).normal(size=(7, 1))
    np.testing.assert_array_equal(resample_sums(sums, seed=1), resample_sums(sums, seed=1))
    assert (resample_sums(sums, seed=1) != resample_sums(sums, seed=2)).any()


def test_interval_of_a_mean_agrees_with_the_normal_theory() -> None:
    values = np.random.default_rng(3).normal(5, 2, 400)
    draws = resample_sums(np.stack([values, np.ones(400)], axis=1), resamples=4000)
    lo, hi = percentile_interval(draws[:, 0] / draws[:, 1])
    half = 1.96 * values.std() / np.sqrt(400)
    assert lo == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert hi == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_one_group_has_no_interval() -> None:
    lo, hi = percentile_interval(resample_sums(np.array([[3.0, 1.0]]))[:, 0])
    assert np.isnan([lo, hi]).all()


def test_undefined_resamples_are_left_out() -> None:
    lo, hi = percentile_interval(np.array([np.nan, 1.0, 2.0, 3.0, np.inf]), level=1.0)
    assert (lo, hi) == (1.0, 3.0)
