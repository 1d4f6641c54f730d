"""The whole flow of commands on a small daily table: every file, every column, every exit code."""

from __future__ import annotations

import datetime
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

import seqloom
from flows import SMALL, Outcome, call, daily, forecast_recipe, write
from seqloom.commands import called
from seqloom.lookup import names

pytestmark = pytest.mark.usefixtures("no_auto_ets")
Cli = Callable[..., Outcome]
COLUMNS = ["unique_id", "ds", "cutoff", "step", "y", "y_hat", "lo-80", "hi-80", "lo-95", "hi-95"]
COMMANDS = ["forecast", "init", "check", "explain", "train", "resume", "evaluate", "predict", "backtest", "report"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with recipe.yaml, data.csv, coming.csv and the run `run`."""
    folder = tmp_path_factory.mktemp("flow")
    recipe_file, table = write(folder, forecast_recipe(), daily())
    daily(coming=4).write_csv(folder / "coming.csv")
    found = call("train", recipe_file, "--data", table, "-o", folder / "run")
    assert found.code == 0, found.err
    assert f"Next: seqloom evaluate {folder / 'run'}" in found.out
    return folder


def dates(frame: pl.DataFrame, column: str) -> list[str]:
    return [str(value)[:10] for value in frame[column].to_list()]


# train


def test_a_run_directory_holds_what_it_promises(trained: Path) -> None:
    run = trained / "run"
    assert (run / "recipe.yaml").read_text() == (trained / "recipe.yaml").read_text()
    full = yaml.safe_load((run / "recipe.full.yaml").read_text())
    assert full["training"]["weight_decay"] == 0.01
    assert full["data"]["frequency"] == "1d"
    assert json.loads((run / "data.json").read_text())["path"] == str(trained / "data.csv")
    assert json.loads((run / "environment.json").read_text())["threads"] == "1"
    problems = json.loads((run / "ledger.json").read_text())["problems"]
    assert {problem["code"] for problem in problems} >= {"gap"}
    history = pl.read_csv(run / "history.csv")
    assert history.columns == ["unique_id", "ds", "y"]
    assert history.filter(pl.col("y").is_null())["ds"].to_list() == ["2024-01-21", "2024-01-22"]
    assert "Topology: sequence → sequence" in (run / "explain.txt").read_text()
    assert list((run / "tensorboard").glob("events*"))
    assert len((run / "log.jsonl").read_text().splitlines()) == 6 + 2


def test_a_run_is_never_overwritten(tmp_path: Path, cli: Cli) -> None:
    recipe_file, table = write(tmp_path, forecast_recipe(steps=1), daily())
    for name in ("run", "run-2", "run-3"):
        found = cli("train", recipe_file, "--data", table, "-o", tmp_path / "run")
        assert found.code == 0, found.err
        assert str(tmp_path / name / "model.seqloom") in found.out
        assert (tmp_path / name / "model.seqloom").is_file()
    marked = tmp_path / "run" / "mark"
    marked.touch()
    found = cli("train", recipe_file, "--data", table, "-o", tmp_path / "run", "--overwrite")
    assert found.code == 0
    assert not marked.exists()
    assert not (tmp_path / "run-4").exists()


def test_overwrite_touches_no_foreign_directory(tmp_path: Path, cli: Cli) -> None:
    recipe_file, table = write(tmp_path, forecast_recipe(), daily())
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "cat.jpg").write_text("meow")
    found = cli("train", recipe_file, "--data", table, "-o", foreign, "--overwrite")
    assert found.code == 1
    assert "not a seqloom run (no seqloom-run.json), so it is not overwritten" in found.err
    assert [path.name for path in foreign.iterdir()] == ["cat.jpg"]


def test_overrides_are_settings(tmp_path: Path, cli: Cli) -> None:
    recipe_file, table = write(tmp_path, forecast_recipe(), daily())
    run = tmp_path / "run"
    found = cli("train", recipe_file, "--data", table, "-o", run, "training.steps=2", "core.cell=lstm")
    assert found.code == 0, found.err
    full = yaml.safe_load((run / "recipe.full.yaml").read_text())
    assert (full["training"]["steps"], full["core"]["cell"]) == (2, "lstm")
    assert "trained 2 steps" in found.out


# evaluate and report


def test_evaluate_scores_beside_rivals_and_proves_no_leak(trained: Path, cli: Cli, tmp_path: Path) -> None:
    run = trained / "run"
    found = cli("evaluate", run, "--json", tmp_path / "metrics.json")
    assert found.code == 0, found.err
    assert "8 forecasts did not move when the future was changed" in found.out
    assert "AutoETS: left out of this test" in found.out
    document = json.loads((run / "metrics.json").read_text())
    assert document == json.loads((tmp_path / "metrics.json").read_text())
    scores = document["outputs"]["coming"]
    assert document["leak_test"] == {"passed": True, "windows": 8, "largest_change": 0.0}
    assert list(scores["rivals"]) == ["seasonal naive"]
    frame = pl.read_csv(run / "predictions" / "coming.csv")
    assert frame.columns == COLUMNS
    mae = float((frame["y"] - frame["y_hat"]).abs().mean())  # type: ignore[arg-type]
    np.testing.assert_allclose(scores["metrics"]["MAE"]["value"], mae, rtol=1e-9)
    rival = pl.read_csv(run / "predictions" / "coming.seasonal naive.csv")
    assert rival.drop("y_hat", "lo-80", "hi-80", "lo-95", "hi-95").equals(
        frame.drop("y_hat", "lo-80", "hi-80", "lo-95", "hi-95")
    )
    report = cli("report", run)
    assert report.code == 0
    page = (run / "report.html").read_text()
    assert "seasonal naive" in page
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=.?http", page)


# predict


def test_predict_answers_the_coming_days_of_every_series(trained: Path, cli: Cli, tmp_path: Path) -> None:
    for ending, read in ((".csv", pl.read_csv), (".jsonl", pl.read_ndjson), (".parquet", pl.read_parquet)):
        target = tmp_path / f"answers{ending}"
        found = cli("predict", trained / "run", "--data", trained / "coming.csv", "-o", target)
        assert found.code == 0, found.err
        assert found.out.endswith(f"8 answers written to {target}")
        assert "warning: series 'north' lacks 1 steps" in found.out, "nothing is repaired without a word"
        frame = read(target)
        assert frame.columns == COLUMNS
        assert dates(frame, "ds") == ["2024-03-01", "2024-03-02", "2024-03-03", "2024-03-04"] * 2
        assert set(dates(frame, "cutoff")) == {"2024-02-29"}
        assert frame["step"].to_list() == [1, 2, 3, 4] * 2
        assert frame["y"].null_count() == 8
        assert ((frame["lo-95"] <= frame["lo-80"]) & (frame["lo-80"] <= frame["y_hat"])).all()
        assert ((frame["y_hat"] <= frame["hi-80"]) & (frame["hi-80"] <= frame["hi-95"])).all()


def test_predict_follows_the_level_of_each_series(trained: Path) -> None:
    """North lies near 25, south near 45: answers are in natural units."""
    answers = seqloom.load(trained / "run").predict(trained / "coming.csv")
    means = dict(answers.group_by("unique_id").agg(pl.col("y_hat").mean()).iter_rows())
    assert abs(means["north"] - 25) < 6
    assert abs(means["south"] - 45) < 6


def test_unseen_short_and_empty_series_get_answers(trained: Path, cli: Cli, tmp_path: Path) -> None:
    """An unseen name with unseen categories, three days of history, and none at all."""
    frame = daily(coming=4)
    last = pl.col("ds") >= "2024-02-27"
    unseen = frame.filter(pl.col("unique_id") == "north").with_columns(
        unique_id=pl.lit("west"), region=pl.lit("elsewhere")
    )
    short = unseen.filter(last).with_columns(unique_id=pl.lit("short"))
    empty = short.filter(pl.col("ds") >= "2024-03-01").with_columns(unique_id=pl.lit("empty"), capacity=None)
    table = tmp_path / "new.csv"
    pl.concat([frame, unseen, short, empty], how="vertical_relaxed").write_csv(table)
    found = cli("predict", trained / "run", "--data", table, "-o", tmp_path / "answers.csv")
    assert found.code == 0, found.err
    answers = pl.read_csv(tmp_path / "answers.csv")
    assert answers["unique_id"].unique(maintain_order=True).to_list() == ["north", "south", "west", "short", "empty"]
    assert answers["y_hat"].is_finite().all()
    assert answers.filter(pl.col("unique_id") == "empty")["cutoff"].null_count() == 4
    assert dates(answers.filter(pl.col("unique_id") == "empty"), "ds")[0] == "2024-03-01"
    # Company changes nothing: north answers as it does alone.
    alone = seqloom.load(trained / "run").predict(frame.filter(pl.col("unique_id") == "north"))
    both = answers.filter(pl.col("unique_id") == "north")
    np.testing.assert_allclose(both["y_hat"].to_numpy(), alone["y_hat"].to_numpy(), rtol=1e-5)


def test_a_longer_horizon_is_fed_back(trained: Path, cli: Cli, tmp_path: Path) -> None:
    daily(coming=9).write_csv(tmp_path / "more.csv")
    found = cli("predict", trained / "run", "--data", tmp_path / "more.csv", "-o", tmp_path / "a.csv", "--horizon", 9)
    assert found.code == 0, found.err
    frame = pl.read_csv(tmp_path / "a.csv")
    assert frame["step"].to_list() == [*range(1, 10)] * 2
    assert frame["y_hat"].is_finite().all()
    assert (
        cli("predict", trained / "run", "--data", tmp_path / "more.csv", "-o", tmp_path / "b.csv", "--horizon", 9).code
        == 0
    )
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_known_ahead_values_missing_for_the_coming_days(trained: Path, cli: Cli, tmp_path: Path) -> None:
    for frame, missing in ((daily(), 4), (daily(coming=3), 1)):
        frame.write_csv(tmp_path / "data.csv")
        found = cli("predict", trained / "run", "--data", tmp_path / "data.csv", "-o", tmp_path / "answers.csv")
        assert found.code == 1
        assert "column 'promo' is declared known ahead, but series 'north' has no value on 2024-03-0" in found.err
        assert f"({missing} of 4 coming steps); add rows for the coming dates with 'promo' filled in" in found.err
        assert not (tmp_path / "answers.csv").exists()


# backtest


def test_backtest_rolls_over_the_test_part(trained: Path, cli: Cli, tmp_path: Path) -> None:
    target = tmp_path / "forecasts.csv"
    found = cli("backtest", trained / "run", "--data", trained / "data.csv", "-o", target)
    assert found.code == 0, found.err
    frame = pl.read_csv(target)
    assert frame.columns == COLUMNS
    assert min(dates(frame, "ds")) == "2024-02-18"  # the last fifth of sixty days
    assert max(dates(frame, "ds")) == "2024-02-29"
    table = daily().rename({"y": "truth"}).select("unique_id", "ds", "truth")
    joined = frame.join(table, on=["unique_id", "ds"])
    np.testing.assert_allclose(joined["y"].to_numpy(), joined["truth"].to_numpy())
    assert len(joined) == len(frame)
    days = [datetime.date.fromisoformat(d) for d in dates(frame, "ds")]
    cuts = [datetime.date.fromisoformat(d) for d in dates(frame, "cutoff")]
    assert [(day - cut).days for day, cut in zip(days, cuts, strict=True)] == frame["step"].to_list()
    assert "MAE" in found.out


def test_backtest_of_the_last_windows_refitted(trained: Path, cli: Cli, tmp_path: Path) -> None:
    arguments = ["--data", trained / "data.csv", "--windows", 2]
    found = cli("backtest", trained / "run", *arguments, "-o", tmp_path / "plain.csv")
    assert found.code == 0, found.err
    found = cli("backtest", trained / "run", *arguments, "-o", tmp_path / "refit.csv", "--refit", 1)
    assert found.code == 0, found.err
    plain, refit = pl.read_csv(tmp_path / "plain.csv"), pl.read_csv(tmp_path / "refit.csv")
    keys = ["unique_id", "cutoff", "step"]
    assert plain["cutoff"].n_unique() == 2
    assert plain.sort(keys).select(*keys, "y").equals(refit.sort(keys).select(*keys, "y"))
    assert not plain.sort(keys)["y_hat"].equals(refit.sort(keys)["y_hat"])


def test_backtest_of_a_recipe_trains_first(trained: Path, cli: Cli, tmp_path: Path) -> None:
    arguments = ["--data", trained / "data.csv", "-o"]
    assert cli("backtest", trained / "recipe.yaml", *arguments, tmp_path / "a.csv").code == 0
    assert cli("backtest", trained / "run", *arguments, tmp_path / "b.csv").code == 0
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()


# check and explain


def test_check_lists_problems_with_their_places(trained: Path, cli: Cli) -> None:
    found = cli("check", trained / "recipe.yaml", "--data", trained / "data.csv")
    assert found.code == 0
    assert "series 'north' lacks 1 steps of 1d in 1 gaps, the first between 2024-01-20 and 2024-01-22" in found.out
    assert "is ready to train on: 0 errors" in found.out
    document = json.loads(cli("check", trained / "recipe.yaml", "--data", trained / "data.csv", "--json").out)
    assert "gap" in json.dumps(document)


def test_explain_says_the_same_of_recipe_run_and_file(trained: Path, cli: Cli) -> None:
    arguments = [
        (trained / "recipe.yaml", "--data", trained / "data.csv", "--json"),
        (trained / "run", "--json"),
        (trained / "run" / "model.seqloom", "--json"),
    ]
    said = []
    for one in arguments:
        found = cli("explain", *one)
        assert found.code == 0, found.err
        said.append(json.loads(found.out))
    assert said[0] == said[1] == said[2]
    text = cli("explain", trained / "run").out
    assert "Topology: sequence → sequence" in text
    assert "Streaming yes" in text


def test_explain_a_cell_draws_it(cli: Cli, tmp_path: Path) -> None:
    found = cli("explain", "cell", "lstm", "-o", tmp_path / "lstm.svg")
    assert found.code == 0, found.err
    assert "c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t" in found.out
    assert (tmp_path / "lstm.svg").read_text().lstrip().startswith("<svg")
    missing = cli("explain", "cell", "lstn", "-o", tmp_path / "no.svg")
    assert missing.code == 2
    assert f"cells: there is no 'lstn'; did you mean 'lstm'? known: {', '.join(names('cells'))}" in missing.err
    assert not (tmp_path / "no.svg").exists()


# forecast and init


def test_forecast_needs_no_recipe_and_its_recipe_is_the_same_model(tmp_path: Path, cli: Cli) -> None:
    table = tmp_path / "data.csv"
    daily().select("unique_id", "ds", "y").write_csv(table)
    run, recipe = tmp_path / "runs" / "f", tmp_path / "mine.yaml"
    found = cli("forecast", table, "--horizon", 5, "-o", run, "--write-recipe", recipe, *SMALL)
    assert found.code == 0, found.err
    frame = pl.read_csv(run / "forecast.csv")
    assert frame.columns == COLUMNS
    assert dates(frame, "ds")[:5] == [f"2024-03-0{k}" for k in range(1, 6)]
    assert {path.name for path in run.iterdir()} >= {"model.seqloom", "report.html", "recipe.yaml", "metrics.json"}
    again = cli("train", recipe, "--data", table, "-o", tmp_path / "again", *SMALL)
    assert again.code == 0, again.err
    assert (tmp_path / "again" / "model.seqloom").read_bytes() == (run / "model.seqloom").read_bytes()


def test_the_next_command_can_be_typed_as_it_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of its environment the command has a path."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["env/bin/seqloom", "forecast"])
    assert called() == "env/bin/seqloom"
    (tmp_path / "seqloom").touch(mode=0o755)
    assert called() == "seqloom"


def test_the_recipe_of_a_run_trains_to_the_same_model(tmp_path: Path, cli: Cli) -> None:
    """`recipe.full.yaml` is the run with every setting, overrides included."""
    recipe_file, table = write(tmp_path, forecast_recipe(), daily())
    assert cli("train", recipe_file, "--data", table, "-o", tmp_path / "a", "training.seed=9").code == 0
    assert cli("train", tmp_path / "a" / "recipe.full.yaml", "--data", table, "-o", tmp_path / "b").code == 0
    assert (tmp_path / "a" / "model.seqloom").read_bytes() == (tmp_path / "b" / "model.seqloom").read_bytes()


GRIDS = {
    "1h": [(datetime.datetime(2024, 3, 1) + datetime.timedelta(hours=k)).isoformat() for k in range(150)],
    "1w": [(datetime.date(2021, 1, 4) + datetime.timedelta(weeks=k)).isoformat() for k in range(90)],
    "1mo": [f"{2012 + k // 12}-{k % 12 + 1:02}-01" for k in range(90)],
    "1bd": [str(day) for day in np.busday_offset("2024-01-01", np.arange(90), roll="forward")],
}
NEXT = {"1h": "2024-03-07T06:00", "1w": "2022-09-26", "1mo": "2019-07-01", "1bd": "2024-05-06"}


@pytest.mark.parametrize("frequency", list(GRIDS))
def test_forecast_on_other_grids(frequency: str, tmp_path: Path, cli: Cli) -> None:
    stamps = GRIDS[frequency]
    values = [10 + np.sin(2 * np.pi * k / 12) for k in range(len(stamps))]
    table = tmp_path / "data.csv"
    pl.DataFrame({"when": stamps, "load": values}).write_csv(table)
    found = cli("forecast", table, "--horizon", 3, "-o", tmp_path / "run", *SMALL)
    assert found.code == 0, found.err
    frame = pl.read_csv(tmp_path / "run" / "forecast.csv")
    assert frame["ds"][0].replace(" ", "T").startswith(NEXT[frequency])
    assert abs(frame["y_hat"].to_numpy() - 10).max() < 3
    full = yaml.safe_load((tmp_path / "run" / "recipe.full.yaml").read_text())
    assert full["data"]["frequency"] == frequency


def test_a_wide_table_forecasts_several_columns_at_once(tmp_path: Path, cli: Cli) -> None:
    days = [(datetime.date(2024, 1, 1) + datetime.timedelta(days=k)).isoformat() for k in range(80)]
    columns = {"a": [5 + np.sin(k) for k in range(80)], "b": [500 + 9 * np.cos(k) for k in range(80)]}
    table = tmp_path / "wide.csv"
    pl.DataFrame({"date": days, **columns}).write_csv(table)
    found = cli("forecast", table, "--target", "a", "--target", "b", "--horizon", 2, "-o", tmp_path / "run", *SMALL)
    assert found.code == 0, found.err
    frame = pl.read_csv(tmp_path / "run" / "forecast.csv")
    assert frame["unique_id"].to_list() == ["a", "a", "b", "b"]
    assert frame["step"].to_list() == [1, 2, 1, 2]
    assert abs(frame["y_hat"].to_numpy()[:2] - 5).max() < 3
    assert abs(frame["y_hat"].to_numpy()[2:] - 500).max() < 30


def test_init_writes_a_recipe_that_runs(tmp_path: Path, cli: Cli) -> None:
    table = tmp_path / "data.csv"
    daily().select("unique_id", "ds", "y").write_csv(table)
    recipe = tmp_path / "recipe.yaml"
    found = cli("init", table, "-o", recipe)
    assert found.code == 0, found.err
    assert cli("check", recipe, "--data", table).code == 0
    assert cli("train", recipe, "--data", table, "-o", tmp_path / "run", *SMALL).code == 0
    text = recipe.read_text()
    refused = cli("init", table, "-o", recipe)
    assert refused.code == 2
    assert f"error: {recipe} exists; choose another name with -o, or remove it" == refused.err
    assert recipe.read_text() == text


# help and wrong usage


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str, cli: Cli) -> None:
    found = cli(command, "--help")
    assert found.code == 0
    assert f"Example: seqloom {command} " in found.out


def test_help_lists_every_command(cli: Cli) -> None:
    found = cli("--help")
    assert found.code == 0
    assert all(command in found.out for command in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "No such command 'trian'"),
        (["train"], "Missing argument 'recipe'"),
        (["train", "r.yaml", "--data", "d.csv"], "Missing option"),
        (["forecast", "d.csv", "--horizon", "many"], "Invalid value for '--horizon': "),
        (["forecast", "d.csv", "--horizon", "0"], "--horizon is 0; expected 1 or more"),
        (["init", "d.csv", "--input", "nokind"], "got 'nokind'; expected NAME:KIND, such as --input y:forecast"),
        (["explain", "cell"], "expected the name of a cell, such as: seqloom explain cell lstm"),
    ],
)
def test_wrong_usage_is_exit_code_2(
    arguments: list[str], message: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = cli(*arguments)
    assert found.code == 2
    assert message in found.err.replace(" │ │ ", " ")
    assert "Traceback" not in found.err


def test_counts_below_one_are_wrong_usage(trained: Path, cli: Cli, tmp_path: Path) -> None:
    arguments = ["--data", trained / "data.csv", "-o", tmp_path / "a.csv"]
    for command, option, message in (
        ("backtest", "--windows", "--windows is 0; expected 1 or more"),
        ("backtest", "--refit", "--refit is 0; expected 1 or more"),
        ("predict", "--horizon", "horizon is 0; expected 1 or more"),
    ):
        found = cli(command, trained / "run", *arguments, option, 0)
        assert (found.code, found.err) == (2, f"error: {message}")
        assert not (tmp_path / "a.csv").exists()


def test_an_unknown_output_or_ending_is_wrong_usage(trained: Path, cli: Cli, tmp_path: Path) -> None:
    data = ["--data", trained / "coming.csv", "-o"]
    found = cli("predict", trained / "run", *data, tmp_path / "a.csv", "--name", "comin")
    assert (found.code, found.err) == (2, "error: output is 'comin'; expected one of coming")
    found = cli("predict", trained / "run", *data, tmp_path / "a.xlsx")
    assert found.code == 2
    assert "ends in '.xlsx'; expected .csv, .jsonl, .parquet" in found.err
    assert list(tmp_path.iterdir()) == []
