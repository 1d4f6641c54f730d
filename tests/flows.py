"""Tables and recipes for tests of whole commands, and how a command is run as its own process."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import yaml

import seqloom
from seqloom.recipe import load_recipe
from seqloom.run import start_run, train_run
from seqloom.training.watcher import Watcher

SEQLOOM = str(Path(sys.executable).with_name("seqloom"))
HERE = str(Path(__file__).parent)
SOURCE = str(Path(seqloom.__file__).parents[1])  # commands run the package that the tests import
SMALL = ("training.steps=6", "training.validate_every=3", "training.warmup_steps=1", "core.hidden_size=4")


class Outcome(NamedTuple):
    """What a command left: its exit code and what it printed, runs of blanks and line ends made one blank."""

    code: int
    out: str
    err: str


def flat(text: str) -> str:
    """The text without line breaks of its own."""
    return " ".join(text.split())


def environment() -> dict[str, str]:
    """One thread, as the tests themselves; a place for import paths; a wide terminal."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{SOURCE}{os.pathsep}{HERE}", "COLUMNS": "200"}


def start(*arguments: object) -> subprocess.Popen[str]:
    """A command as a process of its own."""
    command = [SEQLOOM, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())


def call(*arguments: object, timeout: float = 120) -> Outcome:
    """A command as a process of its own, to its end."""
    with start(*arguments) as process:
        out, err = process.communicate(timeout=timeout)
    return Outcome(process.returncode, flat(out), flat(err))


def daily(days: int = 60, series: tuple[str, ...] = ("north", "south"), coming: int = 0) -> pl.DataFrame:
    """Long form: a week that repeats on a slope, with columns of every role and a gap in each series."""
    random = np.random.default_rng(3)
    rows: list[dict[str, Any]] = []
    for s, name in enumerate(series):
        for k in range(days + coming):
            if k == 20 + s:
                continue
            past = k < days
            value = 20 * (s + 1) + 5 * np.sin(2 * np.pi * k / 7) + 0.1 * k + 0.1 * random.normal()
            rows.append(
                {
                    "unique_id": name,
                    "ds": (datetime.date(2024, 1, 1) + datetime.timedelta(days=k)).isoformat(),
                    "y": value if past else None,
                    "rain": random.normal() if past and k % 9 else None,
                    "promo": float(random.integers(0, 2)),
                    "event": ["fair", "none", "match"][k % 3],
                    "region": f"region {s % 2}",
                    "capacity": 10.0 * (s + 1),
                }
            )
    return pl.DataFrame(rows, infer_schema_length=None)


def forecast_recipe(horizon: int = 4, **training: Any) -> dict[str, Any]:
    """A forecast with past, known-ahead and static covariates, every kind of chance in training switched on."""
    return {
        "data": {
            "time": "ds",
            "id": "unique_id",
            "context_length": 14,
            "split": {"valid": 0.2, "test": 0.2, "stride": 2},
        },
        "inputs": {
            "past": {"kind": "series", "columns": ["y"], "scale": "own", "lags": [7]},
            "rain": {"kind": "series"},
            "promo": {"kind": "series", "role": "known"},
            "event": {"kind": "category", "role": "known"},
            "region": {"kind": "category", "unknown_rate": 0.2},
            "capacity": {"kind": "number"},
            "calendar": {"kind": "calendar", "holidays": "US"},
        },
        "core": {"cell": "gru", "hidden_size": 6, "num_layers": 2, "dropout": 0.2},
        "outputs": {"coming": {"kind": "forecast", "columns": ["y"], "horizon": horizon, "dropout": 0.1}},
        "training": {
            "steps": 6,
            "batch_size": 8,
            "validate_every": 3,
            "warmup_steps": 2,
            "average": 0.9,
            "seed": 5,
            **training,
        },
    }


def labels_recipe(**training: Any) -> dict[str, Any]:
    """A label for each day of two series, every kind of chance in training switched on."""
    recipe = forecast_recipe(**training)
    inputs = {"past": {"kind": "series", "columns": ["y"], "lags": [2], "noise": 0.1}, "region": {"kind": "category"}}
    outputs = {"event": {"kind": "labels", "dropout": 0.1}}
    data = {"time": "ds", "id": "unique_id", "split": {"valid": 0.2, "test": 0.2}}
    core = recipe["core"] | {"recurrent_dropout": 0.2, "zoneout": 0.1, "learned_state": True}
    return recipe | {"data": data, "inputs": inputs, "core": core, "outputs": outputs}


def write(folder: Path, recipe: dict[str, Any], frame: pl.DataFrame, name: str = "data.csv") -> tuple[Path, Path]:
    """A recipe and its table as files."""
    folder.mkdir(exist_ok=True, parents=True)
    recipe_file, table = folder / "recipe.yaml", folder / name
    recipe_file.write_text(yaml.safe_dump(recipe, sort_keys=False))
    if name.endswith(".jsonl"):
        frame.write_ndjson(table)
    else:
        frame.write_csv(table)
    return recipe_file, table


class Stopper(Watcher):
    """Sends this process a signal after a step of its training; Ctrl-C, where no other is named."""

    def __init__(self, step: int, number: signal.Signals = signal.SIGINT) -> None:
        self.at, self.number = step, number

    def step(self, step: int, loss: float) -> None:
        if step == self.at:
            signal.raise_signal(self.number)


def trained(
    folder: Path,
    recipe: dict[str, Any] | None = None,
    frame: pl.DataFrame | None = None,
    *,
    name: str = "data.csv",
    watcher: Watcher | None = None,
) -> Path:
    """A run directory made in this process; of the forecast on the daily table, where nothing else is given."""
    recipe_file, table = write(folder, recipe or forecast_recipe(), daily() if frame is None else frame, name)
    declared, text = load_recipe(recipe_file)
    run, dataset = start_run(declared, text, table, folder / "run")
    train_run(run, dataset, watcher=watcher)
    return run
