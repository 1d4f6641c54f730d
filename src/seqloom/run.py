"""A run directory: what was declared, what happened, and what came of it, as plain files.

recipe.yaml, recipe.full.yaml   as given, and with every default
data.json, ledger.json          where the data are, their fingerprint, and every problem found in them
fitted.json                     vocabularies and scales, which the weights belong to
environment.json                versions, threads and instruction set
explain.txt, explain.json       topology, shapes, parameters, kernels
log.jsonl, tensorboard/         every step, validation and look of the doctor
checkpoints/                    to resume from
model.seqloom                   the trained model
metrics.json, predictions/      after `seqloom evaluate`
attention.json                  after `seqloom evaluate`, where a text is written
forecast.csv                    after `seqloom forecast`
doctor.json, gates.json         after `seqloom doctor`
report.html                     after `seqloom report`
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import torch

import seqloom
from seqloom.artefact import save_artefact
from seqloom.data.ledger import Ledger, Problem
from seqloom.dataset import Dataset, read_dataset
from seqloom.doctor.rounds import Rounds
from seqloom.errors import RunDirectoryError, UsageError
from seqloom.evaluate import Evaluation
from seqloom.explain.model import explain_model
from seqloom.fitting import chunk_plan, fit_model, prepare
from seqloom.model import SequenceModel
from seqloom.outputs.forecast import Forecast
from seqloom.outputs.output import Places
from seqloom.recipe import Recipe, load_recipe
from seqloom.saving import check_writable, explained, read_json, run_directory, write_bytes_atomic, write_json
from seqloom.trained import Trained, receipt
from seqloom.training.watcher import Watcher


def start_run(recipe: Recipe, text: str, data: Path, place: Path, *, overwrite: bool = False) -> tuple[Path, Dataset]:
    """Read the data, then make the run directory and write down what is about to be done.

    Nothing is written where the data are unusable.

    Raises:
        DataError, RecipeError: the data or the recipe are unusable.
        RunDirectoryError: the directory cannot be written.
    """
    if place.parent.exists():
        check_writable(place)  # before the data are read, which may take long
    model = SequenceModel(recipe)
    dataset = read_dataset(model, data)
    prepare(model, dataset)
    model.report(dataset.segments, dataset.ledger)
    explanation = explain_model(model, chunks=chunk_plan(model, dataset))
    with explained(place.parent, error=RunDirectoryError):
        place.parent.mkdir(parents=True, exist_ok=True)
    run = run_directory(place, overwrite)
    write_bytes_atomic(run / "recipe.yaml", text.encode())
    write_bytes_atomic(run / "recipe.full.yaml", model.recipe.render().encode())
    write_json(run / "data.json", {"path": str(data.resolve()), "fingerprint": dataset.fingerprint})
    write_json(run / "fitted.json", model.fitted())
    write_json(run / "environment.json", environment())
    write_ledger(run, dataset.ledger)
    write_history(run, model, dataset)
    write_bytes_atomic(run / "explain.txt", explanation.to_text().encode())
    write_json(run / "explain.json", explanation.to_json())
    return run, dataset


def train_run(run: Path, dataset: Dataset, *, watcher: Watcher | None = None, resume: bool = False) -> Trained:
    """Train what a run directory declares, and put the model into it."""
    recipe, _ = load_recipe(run / "recipe.full.yaml")
    # A vocabulary fitted anew on data that have changed would give other words to the codes that the weights know.
    known = read_json(run / "fitted.json") if resume and (run / "fitted.json").exists() else None
    model = SequenceModel(recipe)
    fitted = fit_model(model, dataset, run, watcher=watcher, doctor=Rounds, resume=resume, known=known)
    made = receipt(dataset, fitted.standing)
    save_artefact(run / "model.seqloom", fitted.model, made)
    return Trained(fitted.model, made)


def resume_run(run: Path, *, inexact: bool = False) -> Dataset:
    """The dataset of an interrupted run, checked to be what it was.

    Raises:
        RunDirectoryError: no run is there, it is finished, or data or environment have changed.
    """
    require_run(run)
    if (run / "model.seqloom").exists():
        raise RunDirectoryError(f"{run} is finished; there is nothing to resume. Next: seqloom evaluate {run}")
    recipe, _ = load_recipe(run / "recipe.full.yaml")
    known = read_json(run / "data.json")
    dataset = read_dataset(SequenceModel(recipe), Path(known["path"]))
    changed = changes(read_json(run / "environment.json"), environment())
    if dataset.fingerprint != known["fingerprint"]:
        changed.append(f"the data in {known['path']}")
    if changed and not inexact:
        raise RunDirectoryError(
            f"{run} cannot be resumed exactly, since this changed: {'; '.join(changed)}. "
            "Put it back, or go on without that promise: --inexact"
        )
    return dataset


def require_run(run: Path) -> None:
    """Raise unless `run` is a run directory.

    Raises:
        RunDirectoryError: it is not.
    """
    if not (run / "recipe.full.yaml").is_file():
        raise RunDirectoryError(f"{run} is no run directory; expected one made by `seqloom train ... -o RUN`")


def run_data(run: Path, data: Path | None) -> Path:
    """The data named by the user, or those the run was trained on."""
    require_run(run)
    return data if data is not None else Path(read_json(run / "data.json")["path"])


def environment() -> dict[str, str]:
    """What the bits of a result depend on, besides the recipe and the data."""
    return {
        "seqloom": seqloom.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
    }


def changes(former: dict[str, Any], now: dict[str, str]) -> list[str]:
    """Where two environments differ, in words."""
    return [f"{name} was {former.get(name)}, now {value}" for name, value in now.items() if former.get(name) != value]


def write_ledger(run: Path, ledger: Ledger) -> None:
    """`ledger.json`."""
    write_json(run / "ledger.json", {"problems": [_problem(problem) for problem in ledger.problems]})


def _problem(problem: Problem) -> dict[str, Any]:
    places = {"column": problem.column, "series": problem.series, "row": problem.row, "date": problem.date}
    where = ", ".join(f"{name} {value}" for name, value in places.items() if value is not None)
    return {
        "severity": problem.severity,
        "code": problem.code,
        "message": problem.message,
        "where": where,
        "count": problem.count,
    }


def write_history(run: Path, model: SequenceModel, dataset: Dataset) -> None:
    """`history.csv`: the observed past of every series that is forecast, gaps left blank."""
    outputs = [output for output in model.outputs.values() if isinstance(output, Forecast)]
    if not outputs:
        return
    ends = dataset.ends
    origin = ends * 0
    frames = []
    for output in outputs:
        for k in range(len(dataset.segments)):
            place = Places(*(part[k : k + 1] for part in (origin + k, origin, origin, ends)))
            steps = int(ends[k])
            answers = output.truth(dataset.segments, place, steps)[..., None].repeat(len(output.quantiles), axis=-1)
            frames.append(output.frame(answers, dataset.segments, place).select("unique_id", "ds", "y"))
    write_frame(run / "history.csv", pl.concat(frames))


def write_evaluation(run: Path, found: Evaluation) -> Evaluation:
    """`metrics.json` and `predictions/`; gives the evaluation with `looks`, how often this run's test part was scored.

    A choice that was made after a look at the test part makes the next look flatter the model.
    """
    file = run / "metrics.json"
    looks = 1 + int(read_json(file).get("looks", 0)) if file.exists() else 1
    found = replace(found, document={**found.document, "looks": looks})
    folder = run / "predictions"
    folder.mkdir(exist_ok=True)
    for name, frame in found.frames.items():
        write_frame(folder / f"{name}.csv", frame)
        for rival, answers in found.rivals.get(name, {}).items():
            write_frame(folder / f"{name}.{rival}.csv", answers)
    if found.attention:
        write_json(run / "attention.json", found.attention)
    write_json(file, found.document)
    return found


def write_frame(path: Path, frame: pl.DataFrame) -> None:
    """A table as CSV, JSON lines or Parquet, by the name's end; dates without a clock where they have none.

    Raises:
        UsageError: another ending.
        RunDirectoryError: the place cannot be written.
    """
    plain = plain_dates(frame)
    writers: dict[str, Callable[[BytesIO], object]] = {
        ".csv": plain.write_csv,
        ".jsonl": plain.write_ndjson,
        ".parquet": plain.write_parquet,
    }
    if path.suffix not in writers:
        raise UsageError(f"{path} ends in {path.suffix!r}; expected {', '.join(writers)}")
    buffer = BytesIO()
    writers[path.suffix](buffer)
    write_bytes_atomic(path, buffer.getvalue())


def plain_dates(frame: pl.DataFrame) -> pl.DataFrame:
    """Datetimes as dates where none of a column has a clock."""
    midnight = [
        name
        for name in frame.columns
        if isinstance(frame[name].dtype, pl.Datetime) and (frame[name].dt.truncate("1d") == frame[name]).all()
    ]
    return frame.with_columns(pl.col(midnight).cast(pl.Date)) if midnight else frame
