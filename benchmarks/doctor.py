"""What the doctor's advice is worth on three classic tests of long memory: `python benchmarks/doctor.py`.

Each test is trained as an ordinary recipe, looked at by the doctor, and trained again with the doctor's edits and
nothing else changed: same data, same steps, same seed. The test part is scored once for each model. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl
import torch
import yaml
from classic_tasks import adding, adding_recipe, copy, copy_recipe, digits, digits_recipe

from seqloom.dataset import read_dataset
from seqloom.doctor.diseases import diagnose, merged
from seqloom.doctor.examine import admit, examine, trace_some
from seqloom.doctor.treatment import treated
from seqloom.evaluate import evaluate
from seqloom.recipe import load_recipe
from seqloom.run import start_run, train_run

Task = tuple[dict[str, Any], pl.DataFrame, str, str]
COMMON = {"batch_size": 32, "validate_every": 50, "warmup_steps": 20}


def tasks() -> dict[str, Task]:
    """Recipe, table, name of the output and its metric."""
    core = {"hidden_size": 32, "cell": "lstm"}
    return {
        "adding, 100 steps, LSTM": (
            adding_recipe(core, {**COMMON, "steps": 400, "lr": 0.005}),
            adding(3000, 100),
            "sum",
            "MAE",
        ),
        "copy, 20 steps of silence, LSTM": (
            copy_recipe({**core, "hidden_size": 64}, {**COMMON, "steps": 600, "lr": 0.01}),
            copy(3000, 20, copied=5),
            "answer",
            "accuracy",
        ),
        "digits, 64 pixels, simple RNN": (
            digits_recipe({"hidden_size": 64, "cell": "rnn"}, {**COMMON, "steps": 400, "lr": 0.1}),
            digits(),
            "digit",
            "accuracy",
        ),
    }


def measure(recipe: Path, table: Path, run: Path, output: str, metric: str) -> dict[str, Any]:
    """Train, score the test part, and let the doctor look."""
    declared, text = load_recipe(recipe)
    run, dataset = start_run(declared, text, table, run)
    began = time.monotonic()
    trained = train_run(run, dataset)
    seconds = time.monotonic() - began
    scores = evaluate(trained.model, read_dataset(trained.model, table)).document["outputs"][output]
    patient = admit(run, table)
    found = diagnose(examine(patient, trace_some(patient)[0]), patient.model.recipe)
    edits = merged(found)
    (run / "treated.yaml").write_text(treated(run / "recipe.full.yaml", edits), encoding="utf-8")
    return {
        "run": str(run),
        metric: {key: scores["metrics"][metric][key] for key in ("value", "lo", "hi")},
        "naive": {name: entry["metrics"][metric]["value"] for name, entry in scores["rivals"].items()},
        "diagnoses": [diagnosis.name for diagnosis in found],
        "edits": [str(edit) for edit in edits],
        "seconds": round(seconds, 1),
    }


def before_and_after(name: str, task: Task, folder: Path, seed: int) -> dict[str, Any]:
    """Both trainings of one test."""
    recipe, frame, output, metric = task
    folder.mkdir()
    table, file = folder / "table.jsonl", folder / "recipe.yaml"
    frame.write_ndjson(table)
    recipe["training"]["seed"] = seed
    file.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    before = measure(file, table, folder / "before", output, metric)
    after = measure(Path(before["run"]) / "treated.yaml", table, folder / "after", output, metric)
    return {"test": name, "seed": seed, "before": before, "after": after}


def main() -> None:
    """All tests, or those whose names begin as given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only tests whose name begins so")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    chosen = {n: t for n, t in tasks().items() if not asked.names or n.startswith(tuple(asked.names))}
    with tempfile.TemporaryDirectory(prefix="seqloom-doctor-") as folder:
        found = [before_and_after(n, t, Path(folder) / str(k), asked.seed) for k, (n, t) in enumerate(chosen.items())]
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
