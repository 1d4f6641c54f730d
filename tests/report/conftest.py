"""A small, realistic run directory, written without training anything."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from seqloom.metrics import score_category, score_forecast, score_number, seasonal_scale
from seqloom.report.run_files import Output, read_run

HOSTILE = "<script>alert(1)</script>"
SERIES = ["Lisbon", "Graz", "Oslo & Bergen", HOSTILE]
HORIZON, WINDOWS, LENGTH = 7, 30, 900
LABELS = ["praise", "complaint", "question"]


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    def make(*, model_noise: float = 1.3, rival_noise: float = 2.2) -> Path:
        run = tmp_path / "run-3"
        (run / "predictions").mkdir(parents=True)
        write_background(run)
        outputs = {
            "temperature": write_forecasts(run, model_noise, rival_noise),
            "kind": write_categories(run),
            "price": write_numbers(run),
        }
        leak_test = {"passed": True, "windows": 8, "largest_change": 0.0}
        write_json(run / "metrics.json", {"part": "test", "outputs": outputs, "leak_test": leak_test})
        return run

    return make


@pytest.fixture
def written_and_read(tmp_path: Path) -> Callable[[str, pl.DataFrame], Output]:
    """Answers of one output, written as a run keeps them and read back by the report."""

    def read(name: str, rows: pl.DataFrame) -> Output:
        (tmp_path / "predictions").mkdir()
        rows.write_csv(tmp_path / "predictions" / f"{name}.csv")
        (output,) = read_run(tmp_path).outputs
        return output

    return read


def write_json(file: Path, value: object) -> None:
    file.write_text(json.dumps(value), encoding="utf-8")


def write_background(run: Path) -> None:
    (run / "recipe.full.yaml").write_text(f"data:\n  id: series\n  note: '{HOSTILE}'\nmodel:\n  cell: lstm\n")
    (run / "explain.txt").write_text("sequence -> sequence\nlstm  (batch, time, 64)   49,664 parameters\n")
    write_json(run / "environment.json", {"python": "3.11.2", "torch": "2.13.0", "device": "cpu"})
    problems = [
        {"severity": "warning", "code": "gap", "message": f"missing in {HOSTILE}", "where": "row 12", "count": 31},
        {"severity": "info", "code": "constant", "message": "column never changes", "where": "x", "count": 1},
    ]
    write_json(run / "ledger.json", {"problems": problems})
    rows: list[dict[str, object]] = []
    for step in range(1, 61):
        rows.append({"step": step * 10, "epoch": step // 12, "loss": 2 / step**0.5, "lr": 1e-3, "seconds": step})
        if step % 6 == 0:
            valid = {"loss": 2.2 / step**0.5, "MAE": 4 / step**0.4}
            rows.append({"step": step * 10, "epoch": step // 12, "valid": valid})
    (run / "log.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def write_forecasts(run: Path, model_noise: float, rival_noise: float) -> dict[str, object]:
    random = np.random.default_rng(0)
    start = datetime(2022, 1, 1)
    days = [(start + timedelta(days=day)).date().isoformat() for day in range(LENGTH + HORIZON)]
    history, model, rival, coming, scales = [], [], [], [], {}
    for place, name in enumerate(SERIES):
        t = np.arange(LENGTH)
        y = 12 + 4 * place + 9 * np.sin(2 * np.pi * t / 365) + random.normal(0, 2, LENGTH)
        gappy = y.copy()
        gappy[[*range(845, 858), 870, 880]] = np.nan
        scales[name] = seasonal_scale(gappy, 7)
        history += [(name, day, value) for day, value in zip(days, gappy, strict=False)]
        for window in range(WINDOWS):
            cutoff = LENGTH - HORIZON - 3 * (WINDOWS - window)
            for step in range(1, HORIZON + 1):
                at = cutoff + step
                key = (name, days[at], days[cutoff], step, gappy[at])
                model.append((*key, *spread(y[at], model_noise, random)))
                rival.append((*key, *spread(y[at], rival_noise, random)))
        for step in range(1, HORIZON + 1):
            at = LENGTH - 1 + step
            coming.append((name, days[at], days[LENGTH - 1], step, *spread(y[-7:].mean(), 0.6 + step / 4, random, 0.5)))
    table(history, ["unique_id", "ds", "y"]).write_csv(run / "history.csv")
    columns = ["unique_id", "ds", "cutoff", "step", "y", "y_hat", "lo-80", "hi-80", "lo-95", "hi-95"]
    table(model, columns).write_csv(run / "predictions" / "temperature.csv")
    table(rival, columns).write_csv(run / "predictions" / "temperature.seasonal_naive.csv")
    table(coming, [name for name in columns if name != "y"]).write_csv(run / "forecast.csv")
    scored = score_forecast(table(model, columns), scales=scales, unit="°C").to_json()
    against = score_forecast(table(rival, columns), scales=scales, unit="°C").to_json()
    return {"kind": "forecast", **scored, "rivals": {"seasonal_naive": against}}


def spread(center: float, noise: float, random: np.random.Generator, off: float | None = None) -> tuple[float, ...]:
    point = center + random.normal(0, noise if off is None else off)
    return point, point - 1.28 * noise, point + 1.28 * noise, point - 1.96 * noise, point + 1.96 * noise


def table(rows: list[tuple[object, ...]], columns: list[str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=columns, orient="row", infer_schema_length=None).with_columns(
        pl.selectors.float().fill_nan(None)
    )


def write_categories(run: Path) -> dict[str, object]:
    random = np.random.default_rng(1)
    chances = random.dirichlet([2, 1, 0.6], 200)
    y = [LABELS[random.choice(3, p=row)] for row in chances]
    y_hat = [LABELS[row.argmax()] for row in chances]
    columns = {f"p-{name}": chances[:, place] for place, name in enumerate(LABELS)}
    frame = pl.DataFrame({"id": [f"review {row}" for row in range(200)], "y": y, "y_hat": y_hat, **columns})
    frame.write_csv(run / "predictions" / "kind.csv")
    scored = score_category(y, y_hat, labels=LABELS, probabilities=chances).to_json()
    majority = score_category(y, ["praise"] * 200, labels=LABELS).to_json()
    return {"kind": "category", **scored, "rivals": {"majority": majority}}


def write_numbers(run: Path) -> dict[str, object]:
    random = np.random.default_rng(2)
    y = random.gamma(3, 40, 150)
    y_hat = y + random.normal(0, 25, 150)
    frame = pl.DataFrame({"id": [f"house {row}" for row in range(150)], "y": y, "y_hat": y_hat})
    frame.write_csv(run / "predictions" / "price.csv")
    mean = score_number(y, np.full(150, y.mean()), unit="k€").to_json()
    return {"kind": "number", **score_number(y, y_hat, unit="k€").to_json(), "rivals": {"mean": mean}}
