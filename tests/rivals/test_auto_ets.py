import numpy as np
import pytest

from seqloom.errors import UsageError
from seqloom.rivals import auto_ets
from seqloom.rivals.auto_ets import AutoEts, fill_gaps
from seqloom.rivals.rival import Window
from seqloom.rivals.seasonal_naive import SeasonalNaive

NAN = np.nan
MODELS = pytest.importorskip("statsforecast.models", reason="statsforecast is not installed")


def seasonal(length: int) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.3, length)
    return 20 + 5 * np.sin(2 * np.pi * np.arange(length) / 7) + noise


def test_one_window_is_what_statsforecast_says() -> None:
    y = seasonal(70)
    got = AutoEts().forecast([Window("a", y)], 7, season=7, levels=[80, 95])
    expected = MODELS.AutoETS(season_length=7).fit(y).predict(7, level=[80, 95])
    np.testing.assert_allclose(got.y_hat[0], expected["mean"])
    np.testing.assert_allclose(got.lo[95][0], expected["lo-95"])
    np.testing.assert_allclose(got.hi[80][0], expected["hi-80"])
    assert got.notes == ("Fitted 1 times for 1 windows and updated in between.",)


def test_windows_between_fits_keep_the_phase_of_the_season() -> None:
    y = seasonal(120)
    windows = [Window("a", y[:end]) for end in range(80, 110)]
    got = AutoEts(max_history=60, fits=2).forecast(windows, 7, season=7, levels=[])
    truth = np.array([y[end : end + 7] for end in range(80, 110)])
    assert np.abs(got.y_hat - truth).mean() < 0.5
    assert "Fitted 2 times for 30 windows" in got.notes[0]


def test_a_forecast_does_not_see_later_windows() -> None:
    y = seasonal(120)
    later = np.concatenate([y[:90], np.full(30, 500.0)])
    rival = AutoEts(fits=1)
    plain = rival.forecast([Window("a", y[:90]), Window("a", y)], 7, season=7, levels=[80])
    moved = rival.forecast([Window("a", later[:90]), Window("a", later)], 7, season=7, levels=[80])
    np.testing.assert_array_equal(plain.y_hat[0], moved.y_hat[0])


def test_series_are_fitted_apart() -> None:
    y = seasonal(70)
    got = AutoEts(fits=1).forecast([Window("a", y), Window("b", y + 1000)], 3, season=7, levels=[])
    np.testing.assert_allclose(got.y_hat[1] - got.y_hat[0], 1000, atol=2)


def test_short_histories_are_answered_by_seasonal_naive_and_counted() -> None:
    windows = [Window("a", np.array([1.0, 2.0])), Window("b", np.array([])), Window("c", seasonal(70))]
    got = AutoEts().forecast(windows, 3, season=7, levels=[80])
    naive = SeasonalNaive().forecast(windows, 3, season=7, levels=[80])
    np.testing.assert_array_equal(got.y_hat[:2], naive.y_hat[:2])
    assert (got.y_hat[2] != naive.y_hat[2]).any()
    assert "2 windows were too short or degenerate" in got.notes[1]


def test_less_than_two_seasons_are_too_short() -> None:
    window = Window("a", seasonal(17))
    got = AutoEts().forecast([window], 3, season=7, levels=[])
    np.testing.assert_array_equal(got.y_hat, SeasonalNaive().forecast([window], 3, season=7, levels=[]).y_hat)


def test_a_series_that_ets_cannot_fit_is_answered_by_seasonal_naive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto_ets, "_fit", lambda filled, season: None)
    window = Window("a", seasonal(70))
    got = AutoEts().forecast([window], 3, season=7, levels=[80])
    np.testing.assert_array_equal(got.hi[80], SeasonalNaive().forecast([window], 3, season=7, levels=[80]).hi[80])


def test_gaps_are_filled_by_a_line_and_counted() -> None:
    np.testing.assert_allclose(fill_gaps(np.array([NAN, 1, NAN, NAN, 4, NAN])), [1, 2, 3, 4, 4])
    assert fill_gaps(np.array([NAN, NAN])).size == 0
    y = seasonal(70)
    y[[0, 30, 31, 69]] = NAN
    got = AutoEts().forecast([Window("a", y)], 3, season=7, levels=[])
    assert got.notes[1] == "3 missing values were filled by a straight line, for AutoETS only."
    assert np.isfinite(got.y_hat).all()


def test_a_season_too_long_for_ets_is_said() -> None:
    got = AutoEts().forecast([Window("a", seasonal(80))], 3, season=30, levels=[])
    assert "cannot hold a season of 30 steps" in got.notes[-1]


def test_missing_statsforecast_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert AutoEts().available() is None
    monkeypatch.setattr(auto_ets, "find_spec", lambda name: None)
    assert "pip install 'seqloom[rivals]'" in str(AutoEts().available())
    with pytest.raises(UsageError, match="auto_ets cannot run: statsforecast is not installed"):
        AutoEts().forecast([], 3, season=7, levels=[])
