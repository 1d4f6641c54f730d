import numpy as np
import pytest

from seqloom.errors import UsageError
from seqloom.rivals.rival import Window
from seqloom.rivals.seasonal_naive import SeasonalNaive, naive_errors, seasonal_naive

NAN = np.nan


@pytest.mark.parametrize(
    ("history", "horizon", "expected"),
    [
        ([1, 2, 3, 4, 5, 6], 3, [4, 5, 6]),
        ([1, 2, 3, 4, 5, 6], 7, [4, 5, 6, 4, 5, 6, 4]),
        ([1, 2, 3, 4], 4, [2, 3, 4, 2]),
        ([1, 2, 3, 4, NAN, 6], 3, [4, 2, 6]),
        ([NAN, 2, 3, NAN, NAN, 6], 3, [6, 2, 6]),
        ([7], 4, [7, 7, 7, 7]),
        ([5, NAN], 3, [5, 5, 5]),
        ([NAN, NAN], 2, [0, 0]),
        ([], 2, [0, 0]),
    ],
    ids=[
        "plain",
        "wraps",
        "ragged",
        "earlier season",
        "last value",
        "one",
        "gap at end",
        "gaps only",
        "none",
    ],
)
def test_forecast_by_hand_with_season_three(history: list[float], horizon: int, expected: list[float]) -> None:
    np.testing.assert_array_equal(seasonal_naive(np.array(history, float), horizon, 3), expected)


def test_history_is_not_changed() -> None:
    history = np.array([1.0, NAN, 3.0])
    seasonal_naive(history, 5, 2)
    np.testing.assert_array_equal(history, [1.0, NAN, 3.0])


def test_errors_are_quantiles_of_seasonal_differences() -> None:
    history = np.array([0.0, 10, 1, 12, 3, 15, NAN, 19])
    one = [1, 2, 2, 3, 4]  # lag 2
    two = [3, 5, 7]  # lag 4
    got = naive_errors(history, 3, 2, [0.1, 0.9])
    np.testing.assert_allclose(got[0], np.quantile(one, [0.1, 0.9]))
    np.testing.assert_allclose(got[1], got[0])
    np.testing.assert_allclose(got[2], np.quantile(two, [0.1, 0.9]))


def test_a_lag_without_pairs_takes_the_errors_before_it() -> None:
    history = np.array([1.0, 2.0, 4.0])
    got = naive_errors(history, 3, 1, [0.5])
    np.testing.assert_allclose(got, [[1.5], [1.5], [1.5]])
    np.testing.assert_array_equal(naive_errors(history[:1], 2, 1, [0.5]), [[0.0], [0.0]])


def test_intervals_cover_a_random_walk_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    walks = random.normal(size=(300, 203)).cumsum(axis=1)
    windows = [Window("s", walk[:200]) for walk in walks]
    forecasts = SeasonalNaive().forecast(windows, 3, season=1, levels=[80])
    covered = (forecasts.lo[80] <= walks[:, 200:]) & (walks[:, 200:] <= forecasts.hi[80])
    assert forecasts.y_hat.shape == (300, 3)
    assert covered[:, 0].mean() == pytest.approx(0.8, abs=0.06)
    assert covered[:, 2].mean() == pytest.approx(0.8, abs=0.08)
    widths = (forecasts.hi[80] - forecasts.lo[80]).mean(axis=0)
    assert widths[2] == pytest.approx(np.sqrt(3) * widths[0], rel=0.1)


def test_no_windows_and_no_levels() -> None:
    forecasts = SeasonalNaive().forecast([], 3, season=7, levels=[])
    assert forecasts.y_hat.shape == (0, 3)
    assert forecasts.lo == {}


def test_season_below_one_is_an_error() -> None:
    with pytest.raises(UsageError, match="season is 0 and horizon 3; expected at least 1"):
        seasonal_naive(np.ones(3), 3, 0)
