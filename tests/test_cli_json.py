"""`--json`: figures alone on standard output, what people read on standard error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from flows import SMALL, Outcome, daily, forecast_recipe, write

Cli = Callable[..., Outcome]
pytestmark = pytest.mark.usefixtures("no_auto_ets")


def test_forecast(tmp_path: Path, cli: Cli) -> None:
    table, run = tmp_path / "data.csv", tmp_path / "run"
    daily().select("unique_id", "ds", "y").write_csv(table)
    done = cli("forecast", table, "--horizon", 3, "-o", run, "--json", *SMALL)
    assert done.code == 0
    found = json.loads(done.out)
    assert found["run"] == str(run)
    assert found["metrics"] == json.loads((run / "metrics.json").read_text())
    written = pl.read_csv(run / "forecast.csv")
    assert [row["y_hat"] for row in found["forecast"]] == pytest.approx(written["y_hat"].to_list())
    assert [row["ds"] for row in found["forecast"]] == written["ds"].to_list()
    assert "coming steps" in done.err


def test_train_and_backtest(tmp_path: Path, cli: Cli) -> None:
    recipe, table = write(tmp_path, forecast_recipe(), daily())
    run, forecasts = tmp_path / "run", tmp_path / "forecasts.csv"
    trained = json.loads(cli("train", recipe, "--data", table, "-o", run, "--json").out)
    assert (trained["run"], trained["steps"]) == (str(run), 6)
    assert set(trained["validation"]) == {"loss", "MAE"}
    done = cli("backtest", run, "--data", table, "-o", forecasts, "--json")
    found, frame = json.loads(done.out), pl.read_csv(forecasts)
    assert found["forecasts"] == len(frame)
    for name, error in found["series"].items():
        rows = frame.filter(unique_id=name)
        assert error == pytest.approx(np.nanmean((rows["y"] - rows["y_hat"]).abs().cast(pl.Float64).to_numpy()))
    assert "forecasts written" in done.err
    for look in (1, 2):
        assert cli("evaluate", run, "--json", tmp_path / "metrics.json").code == 0
        assert json.loads((tmp_path / "metrics.json").read_text())["looks"] == look


def test_what_a_forecast_overrides_is_in_its_recipe(tmp_path: Path, cli: Cli) -> None:
    table, run, recipe = tmp_path / "data.csv", tmp_path / "run", tmp_path / "recipe.yaml"
    daily().select("unique_id", "ds", "y").write_csv(table)
    assert cli("forecast", table, "-o", run, "--write-recipe", recipe, *SMALL).code == 0
    assert "steps: 6" in recipe.read_text()
    assert recipe.read_text() == (run / "recipe.yaml").read_text()
    again = tmp_path / "again"
    assert cli("train", recipe, "--data", table, "-o", again).code == 0
    assert (again / "model.seqloom").read_bytes() == (run / "model.seqloom").read_bytes()


def test_a_score_on_other_data_says_so(tmp_path: Path, cli: Cli) -> None:
    recipe, table = write(tmp_path, forecast_recipe(), daily())
    run, other = tmp_path / "run", tmp_path / "other.csv"
    daily(days=50).write_csv(other)
    assert cli("train", recipe, "--data", table, "-o", run).code == 0
    assert "not what this model was trained on" not in cli("evaluate", run).out
    assert "other.csv is not what this model was trained on" in cli("evaluate", run, "--data", other).out


def test_a_backtest_of_two_forecasts_names_them(tmp_path: Path, cli: Cli) -> None:
    document = forecast_recipe()
    document["inputs"]["promo_past"] = {"kind": "series", "columns": ["rain"], "scale": "own"}
    document["outputs"]["wet"] = {"kind": "forecast", "columns": ["rain"], "horizon": 4, "intervals": [50]}
    recipe, table = write(tmp_path, document, daily())
    run, forecasts = tmp_path / "run", tmp_path / "forecasts.csv"
    assert cli("train", recipe, "--data", table, "-o", run).code == 0
    assert cli("backtest", run, "--data", table, "-o", forecasts).code == 0
    frame = pl.read_csv(forecasts)
    assert set(frame["output"]) == {"coming", "wet"}
    assert frame.filter(output="wet")["lo-80"].null_count() == len(frame) // 2
    document["outputs"]["wet"]["horizon"] = 2
    recipe, _ = write(tmp_path, document, daily())
    refused = cli("train", recipe, "--data", table, "-o", tmp_path / "no")
    assert refused.code == 2
    assert "the forecasts look [(2, 2), (4, 4)] steps (horizon, block) ahead; expected the same" in refused.err
