import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path

import polars as pl
import pytest

from seqloom.errors import RunDirectoryError
from seqloom.report import write_report

MakeRun = Callable[..., Path]
# as in the run that the fixture writes
HOSTILE = "<script>alert(1)</script>"
LABELS = ["praise", "complaint", "question"]


def own_part(page: Path) -> str:
    """The page without the inlined library."""
    from plotly.offline import get_plotlyjs

    text = page.read_text("utf-8")
    assert text.count(get_plotlyjs()) == 1
    return text.replace(get_plotlyjs(), "")


def words(page: Path) -> str:
    """What a reader sees, without markup, styles and data."""
    visible = re.sub(r"<(script|style)\b.*?</\1>", " ", own_part(page), flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", visible)))


def figures(page: Path) -> dict[str, dict[str, object]]:
    """The data of each chart, by its description."""
    pattern = r'aria-label="([^"]*)".*?<script type="application/json">(.*?)</script>'
    return {alt: json.loads(data) for alt, data in re.findall(pattern, own_part(page), flags=re.DOTALL)}


def test_a_model_that_wins_is_said_to_win(make_run: MakeRun) -> None:
    run = make_run(model_noise=1.3, rival_noise=2.2)
    scores = json.loads((run / "metrics.json").read_text())["outputs"]["temperature"]
    mae, rival = scores["metrics"]["MAE"], scores["rivals"]["seasonal_naive"]["metrics"]["MAE"]
    share = 100 * (1 - mae["value"] / rival["value"])
    text = words(write_report(run))
    assert f"MAE is {mae['value']:.2f} °C (95 % interval {mae['lo']:.2f} to {mae['hi']:.2f})" in text
    assert f"{share:.0f} % below its best rival, seasonal naive ({rival['value']:.2f} °C)." in text
    assert "Leak test passed: forecasts of 8 windows did not move" in text


def test_a_rival_that_wins_is_recommended(make_run: MakeRun) -> None:
    text = words(write_report(make_run(model_noise=2.6, rival_noise=1.3)))
    assert "Seasonal naive is better here: use it." in text
    assert "below its best rival, seasonal naive" not in text


def test_a_difference_within_the_noise_is_called_chance(make_run: MakeRun) -> None:
    text = words(write_report(make_run(model_noise=1.30, rival_noise=1.31)))
    assert text.count("Their intervals overlap, so the difference may be chance.") == 2


@pytest.mark.parametrize(("looks", "said"), [(1, False), (3, True)])
def test_repeated_looks_at_the_test_part_are_said(make_run: MakeRun, looks: int, said: bool) -> None:
    run = make_run()
    metrics = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps({**metrics, "looks": looks}))
    assert ("has been scored 3 times in this run" in write_report(run).read_text()) is said


def test_a_failed_leak_test_is_loud(make_run: MakeRun) -> None:
    run = make_run()
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["leak_test"] = {"passed": False, "windows": 8, "largest_change": 0.5}
    (run / "metrics.json").write_text(json.dumps(metrics))
    assert "Leak test FAILED over 8 windows: forecasts moved by up to 0.500" in words(write_report(run))


def test_nothing_hostile_survives_as_markup(make_run: MakeRun) -> None:
    run = make_run()
    (run / "environment.json").write_text(json.dumps({HOSTILE: HOSTILE}))
    (run / "explain.txt").write_text(HOSTILE)
    page = write_report(run)
    assert HOSTILE not in own_part(page)
    assert words(page).count(HOSTILE) >= 5


def test_nothing_is_loaded_from_elsewhere(make_run: MakeRun) -> None:
    text = own_part(write_report(make_run()))
    assert not re.findall(r'(?:src|href|url\()\s*=?\s*["\']?(?:https?:)?//', text)
    assert "default-src 'none'" in unescape(text)


def test_gaps_are_never_bridged(make_run: MakeRun) -> None:
    run = make_run()
    figure = figures(write_report(run))["Observed series over time with gaps"]
    history = pl.read_csv(run / "history.csv").filter(pl.col("unique_id") == "Lisbon").tail(730)
    view = figure["views"][0]
    [trace] = view["traces"]
    assert trace["y"] == history["y"].to_list()
    assert trace["y"].count(None) == 15
    assert trace["connectgaps"] is False
    assert len(view["layout"]["shapes"]) == 3


def test_every_section_of_a_full_run_is_there(make_run: MakeRun) -> None:
    titles = [unescape(title) for title in re.findall(r"<h2>(.*?)</h2>", own_part(write_report(make_run())))]
    temperature = ["Test forecasts", "Rivals", "Coverage", "Error by step", "Error by series", "Worst cases"]
    assert titles == [
        "Summary",
        "Coming forecast",
        "Data",
        *(f"{title} of temperature" for title in temperature),
        *(f"{title} of kind" for title in ["Rivals", "Confusion", "Calibration", "Worst cases"]),
        *(f"{title} of price" for title in ["Rivals", "Predictions", "Worst cases"]),
        *("Learning curves", "Pre-flight ledger", "Model", "Recipe", "Environment"),
    ]


def test_receipts_and_ledger_are_shown(make_run: MakeRun) -> None:
    text = words(write_report(make_run()))
    assert re.search(r"MAE\|mean \|y - f\|, pooled over all observed .*?\|sha:[0-9a-f]{8}", text)
    assert "1 warning, 1 info." in text
    assert f"missing in {HOSTILE} row 12 31" in text


def test_remarks_and_absences_of_rivals_are_said(make_run: MakeRun) -> None:
    run = make_run()
    metrics = json.loads((run / "metrics.json").read_text())
    temperature = metrics["outputs"]["temperature"]
    temperature["rivals"]["seasonal_naive"]["notes"] = ["3 values were filled."]
    temperature["rivals_skipped"] = {"auto_ets": "statsforecast is not installed"}
    (run / "metrics.json").write_text(json.dumps(metrics))
    text = words(write_report(run))
    assert "seasonal naive: 3 values were filled." in text
    assert "auto ets did not run: statsforecast is not installed." in text


def test_worst_window_is_the_one_with_the_largest_mae(make_run: MakeRun) -> None:
    run = make_run()
    table = pl.read_csv(run / "predictions" / "temperature.csv").drop_nulls("y")
    error = (pl.col("y") - pl.col("y_hat")).abs().mean().alias("error")
    series, cutoff, worst = table.group_by("unique_id", "cutoff").agg(error).sort("error").row(-1)
    first = figures(write_report(run))["Worst test windows"]["views"][0]
    assert first["group"] == f"1. {series} after {cutoff}: MAE {worst:.2f}"


def test_confusion_shows_the_share_of_each_row(make_run: MakeRun) -> None:
    run = make_run()
    counts = json.loads((run / "metrics.json").read_text())["outputs"]["kind"]["confusion"]["counts"]
    [heat] = figures(write_report(run))["Confusion matrix"]["views"][0]["traces"]
    assert heat["y"] == LABELS
    assert heat["text"] == counts
    assert heat["z"][1][0] == pytest.approx(100 * counts[1][0] / sum(counts[1]))


def test_an_empty_run_says_what_to_do(tmp_path: Path) -> None:
    text = words(write_report(tmp_path))
    assert f"not evaluated yet: run `seqloom evaluate {tmp_path.name} --data PATH`" in text
    for part in ["No training log yet", "No pre-flight ledger", "No description", "No recipe", "No environment.json"]:
        assert part in text


@pytest.mark.parametrize(
    "name",
    ["metrics.json", "ledger.json", "log.jsonl", "environment.json", "history.csv", "forecast.csv"],
)
def test_a_damaged_file_is_named_and_the_rest_is_shown(make_run: MakeRun, name: str) -> None:
    run = make_run()
    (run / name).write_text('{"half": \n[1, 2')
    text = words(write_report(run))
    assert f"{name} cannot be read:" in text
    assert "Learning curves" in text


def test_a_line_of_the_log_that_a_kill_cut_off_costs_nothing_else(make_run: MakeRun) -> None:
    run = make_run()
    whole = write_report(run).read_text()
    with (run / "log.jsonl").open("a") as file:
        file.write('{"step": 9, "lo')
    assert write_report(run).read_text() == whole


def test_a_table_without_a_needed_column_is_named(make_run: MakeRun) -> None:
    run = make_run()
    pl.read_csv(run / "history.csv").drop("y").write_csv(run / "history.csv")
    text = words(write_report(run))
    assert "history.csv cannot be read: it has the columns unique_id, ds and lacks y" in text


@pytest.mark.parametrize("name", ["metrics.json", "history.csv", "forecast.csv", "predictions/temperature.csv"])
def test_any_part_may_be_missing(make_run: MakeRun, name: str) -> None:
    run = make_run()
    (run / name).unlink()
    page = write_report(run).read_text()
    assert page.rstrip().endswith("</html>")
    assert "Summary" in page


def test_values_that_are_no_numbers_become_gaps(make_run: MakeRun) -> None:
    run = make_run()
    table = pl.read_csv(run / "forecast.csv", infer_schema=False)
    spoilt = table.with_columns(pl.lit("NaN").alias("y_hat"), pl.lit("inf").alias("hi-80"))
    spoilt.write_csv(run / "forecast.csv")
    traces = figures(write_report(run))["Forecast of the coming steps with intervals"]["views"][0]["traces"]
    assert traces[-1]["y"] == [None] * 7


def test_a_single_output_needs_no_name_in_its_titles(make_run: MakeRun) -> None:
    run = make_run()
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["outputs"] = {"price": metrics["outputs"]["price"]}
    (run / "metrics.json").write_text(json.dumps(metrics))
    for name in ["kind", "temperature", "temperature.seasonal_naive"]:
        (run / "predictions" / f"{name}.csv").unlink()
    assert "<h2>Rivals</h2>" in own_part(write_report(run))


def test_a_path_that_is_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="nowhere is not a run directory; expected one written by"):
        write_report(tmp_path / "nowhere")
