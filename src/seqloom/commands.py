"""What the commands do. Each takes paths and plain values and prints to a console; some return their figures."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from rich.console import Console
from rich.table import Table

from seqloom.backtest import backtest
from seqloom.bench import measure, table
from seqloom.bench.row import Row
from seqloom.bench.timing import FULL, QUICK
from seqloom.cells.cell import Cell
from seqloom.data.guess import guess_series
from seqloom.data.ledger import Ledger
from seqloom.data.settings import DataSettings
from seqloom.data.tables import locate_table, read_json_lines, read_table
from seqloom.dataset import Dataset, read_dataset
from seqloom.doctor.at_work import at_work
from seqloom.doctor.diseases import Diagnosis, diagnose, merged, to_json
from seqloom.doctor.examine import admit, examine, trace_some
from seqloom.doctor.treatment import keep_former, treated
from seqloom.doctor.words import describe
from seqloom.errors import DataError, UsageError
from seqloom.evaluate import Evaluation, evaluate, leak_found
from seqloom.explain import cell as cells
from seqloom.explain.model import explain_model
from seqloom.fitting import chunk_plan, learn, prepare
from seqloom.inputs.text import Text
from seqloom.leak import require_no_leak
from seqloom.lookup import find
from seqloom.model import SequenceModel
from seqloom.recipe import Recipe, load_recipe, override, parse_recipe
from seqloom.report.write import write_report
from seqloom.run import (
    plain_dates,
    require_run,
    resume_run,
    run_data,
    start_run,
    train_run,
    write_evaluation,
    write_frame,
)
from seqloom.saving import write_bytes_atomic, write_json
from seqloom.suggest import examples_recipe, forecast_recipe, with_covariates
from seqloom.trained import Trained, fit, load
from seqloom.training.progress import ProgressBar

ONLY_IN_REPORT = {"bias", "pinball", "WAPE", "width", "winkler"}
MOST_SHOWN = 21


def forecast(
    console: Console,
    data: Path,
    horizon: int,
    *,
    time: str | None,
    target: list[str],
    id: str | None,
    output: Path,
    write_recipe: Path | None,
    overwrite: bool,
    overrides: list[str],
) -> dict[str, Any]:
    """The main job: from a table to forecasts, in one go and without a recipe; returns run, metrics and forecasts."""
    if horizon < 1:
        raise UsageError(f"--horizon is {horizon}; expected 1 or more")
    frame = read_table(data, DataSettings())
    guess = guess_series(frame, time=time, target=target, id=id)
    console.print("[bold]Assumed[/]", *guess.assumptions, sep="\n  ", highlight=False)
    document = forecast_recipe(guess, frame, horizon)
    for entry in overrides:
        override(document, entry)
    recipe = parse_recipe(document)
    text = render(document, f"What `seqloom forecast {data.name}` runs.")
    console.print("\n[bold]The recipe this makes[/]")
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    run, trained, dataset = _train(console, recipe, text, data, output, overwrite)
    if write_recipe is not None:
        write_bytes_atomic(write_recipe, text.encode())
        console.print(f"recipe written to {write_recipe}")
    found = _evaluate(console, run, trained, dataset)
    coming = trained.predict(data)
    write_frame(run / "forecast.csv", coming)
    write_report(run)
    _show_coming(console, coming)
    _say_files(console, run, ["forecast.csv", "model.seqloom", "report.html", "recipe.yaml"])
    console.print(
        f"\nNext: open {run / 'report.html'} in a browser; change {run / 'recipe.yaml'} and run "
        f"`{called()} train {run / 'recipe.yaml'} --data {data} -o {run.parent / 'mine'}`",
        highlight=False,
        soft_wrap=True,
    )
    rows = json.loads(plain_dates(coming).write_json())
    return {"run": str(run), "metrics": found.document, "forecast": rows}


def called() -> str:
    """How this command is called from here, where its environment may not be active."""
    return "seqloom" if shutil.which("seqloom") else sys.argv[0]


def render(recipe: dict[str, Any], comment: str) -> str:
    """A recipe as YAML with a line about where it comes from."""
    return f"# {comment}\n" + yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)


def init(console: Console, data: Path, inputs: dict[str, str], outputs: dict[str, str], output: Path) -> None:
    """Write a recipe for a table, guessing what nobody said."""
    if output.exists():
        raise UsageError(f"{output} exists; choose another name with -o, or remove it")
    settings = DataSettings()
    frame = read_table(data, settings)
    horizon = [name for name, kind in outputs.items() if kind == "forecast"]
    series = bool(horizon) or (not outputs and _has_dates(frame))
    if series:
        guess = guess_series(frame, target=horizon)
        console.print("[bold]Assumed[/]", *guess.assumptions, sep="\n  ", highlight=False)
        document = forecast_recipe(with_covariates(guess, inputs), frame, 7)
    else:
        document = examples_recipe(frame, inputs, outputs)
    parse_recipe(document)
    document["data"] = {"table": locate_table(data, settings).name, **document["data"]}
    text = render(document, f"Made by `seqloom init {data.name}`. Every setting: docs, page “Recipe”.")
    write_bytes_atomic(output, text.encode())
    console.print(text, markup=False, highlight=False)
    console.print(f"recipe written to {output}\nNext: seqloom check {output} --data {data}", highlight=False)


def _has_dates(frame: pl.DataFrame) -> bool:
    try:
        guess_series(frame)
    except DataError:
        return False
    return True


def check(console: Console, recipe: Path, data: Path, overrides: list[str], as_json: bool) -> None:
    """List every problem of the data before anything is trained."""
    declared, _ = load_recipe(recipe, overrides)
    ledger = Ledger()
    try:
        model = SequenceModel(declared)
        dataset = read_dataset(model, data, ledger=ledger)
        learn(model, dataset)
        model.report(dataset.segments, ledger)
    finally:
        _show_ledger(console, ledger, as_json)
    if not as_json:
        counts = f"{len(ledger.warnings)} warnings, {len(ledger.notes)} notes"
        console.print(f"{data} is ready to train on: 0 errors, {counts}", highlight=False)


def _show_ledger(console: Console, ledger: Ledger, as_json: bool = False, limit: int | None = None) -> None:
    """Warnings and notes, or everything as JSON; errors stop the command and are listed by what it raises."""
    if as_json:
        console.print_json(ledger.to_json())
        return
    found = [*ledger.warnings, *ledger.notes]
    for problem in found[:limit]:
        console.print(f"{problem.severity}: {problem.message}", markup=False, highlight=False, soft_wrap=True)
    if limit is not None and len(found) > limit:
        console.print(f"... and {len(found) - limit} more in ledger.json", highlight=False)


def explain(console: Console, target: Path, data: Path | None, as_json: bool, trusted: list[str]) -> None:
    """Topology, shapes, parameters and kernels of a recipe or a run."""
    chunks = None
    if target.is_dir() or target.suffix == ".seqloom":
        model = load(target, trusted=trusted).model
    else:
        model = SequenceModel(load_recipe(target)[0])
        if data is not None:
            dataset = read_dataset(model, data)
            prepare(model, dataset)
            chunks = chunk_plan(model, dataset)
        else:
            model.assume()
            assumed = "vocabularies are assumed to hold ten words, and files that the recipe names are not read"
            console.print(f"No --data given: {assumed}.", highlight=False, soft_wrap=True)
    explanation = explain_model(model, chunks=chunks)
    if as_json:
        console.print_json(json.dumps(explanation.to_json()))
    else:
        console.print(explanation.to_text(), markup=False, highlight=False, soft_wrap=True)


def explain_cell(console: Console, name: str, output: Path | None) -> None:
    """A cell's equations, and a drawing of it as SVG."""
    cell: type[Cell] = find("cells", name, Cell)
    console.print(cells.explain_cell(cell), markup=False, highlight=False, soft_wrap=True)
    drawing = output or Path(f"{name.rpartition(':')[2]}.svg")
    write_bytes_atomic(drawing, cells.draw_cell(cell).encode())
    console.print(f"drawing written to {drawing}", highlight=False)


def train(
    console: Console, recipe: Path, data: Path, output: Path, overrides: list[str], overwrite: bool
) -> dict[str, Any]:
    """Train what a recipe declares into a run directory; returns the run and the receipt of its model."""
    declared, text = load_recipe(recipe, overrides)
    run, trained, _ = _train(console, declared, text, data, output, overwrite)
    _say_files(console, run, ["model.seqloom", "log.jsonl", "explain.txt"])
    then = "backtest" if SequenceModel(declared).horizon else "predict"
    console.print(f"Next: seqloom evaluate {run}; seqloom {then} {run} --data {data} -o answers.csv", highlight=False)
    return {"run": str(run), **trained.receipt}


def _train(
    console: Console, recipe: Recipe, text: str, data: Path, output: Path, overwrite: bool
) -> tuple[Path, Trained, Dataset]:
    run, dataset = start_run(recipe, text, data, output, overwrite=overwrite)
    _show_ledger(console, dataset.ledger, limit=MOST_SHOWN)
    console.print((run / "explain.txt").read_text(encoding="utf-8"), markup=False, highlight=False, soft_wrap=True)
    with ProgressBar(recipe.training.steps, console) as bar:
        trained = train_run(run, dataset, watcher=bar)
    _say_trained(console, trained)
    return run, trained, dataset


def _say_trained(console: Console, trained: Trained) -> None:
    found = trained.receipt
    shown = ", ".join(f"{name} {_plain(value, 4)}" for name, value in found["validation"].items())
    which = f"mean of steps {', '.join(map(str, found['mean_of']))}" if "mean_of" in found else None
    which = which or f"best at step {found['best_step']}"
    console.print(f"trained {found['steps']} steps, {which}: {shown or 'no validation part'}")


def resume(console: Console, run: Path, inexact: bool) -> None:
    """Go on with an interrupted run, to the last bit."""
    dataset = resume_run(run, inexact=inexact)
    recipe, _ = load_recipe(run / "recipe.full.yaml")
    with ProgressBar(recipe.training.steps, console) as bar:
        trained = train_run(run, dataset, watcher=bar, resume=True)
    _say_trained(console, trained)
    _say_files(console, run, ["model.seqloom"])


def evaluate_run(console: Console, run: Path, data: Path | None, json_file: Path | None, trusted: list[str]) -> None:
    """Score the test part beside the rivals, and run the leak test."""
    data = run_data(run, data)
    trained = load(run, trusted=trusted)
    dataset = read_dataset(trained.model, data)
    if dataset.fingerprint != trained.receipt.get("data"):
        console.print(
            f"note: {data} is not what this model was trained on, so its test part may hold what the model has learned",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    _evaluate(console, run, trained, dataset)
    if json_file is not None:
        write_bytes_atomic(json_file, (run / "metrics.json").read_bytes())
    write_report(run)
    _say_files(console, run, ["metrics.json", "report.html"])


def _evaluate(console: Console, run: Path, trained: Trained, dataset: Dataset) -> Evaluation:
    with console.status("evaluating on the test part, beside the rivals"):
        found = evaluate(trained.model, dataset)
    found = write_evaluation(run, found)
    _show_scores(console, found)
    leak = leak_found(found.document)
    if leak is not None:
        require_no_leak(leak)
        console.print(f"leak test: {leak.windows} forecasts did not move when the future was changed", highlight=False)
    return found


def _show_scores(console: Console, found: Evaluation) -> None:
    for name, scores in found.document["outputs"].items():
        table = Table(title=f"{name}: {scores['windows']:,} answers to the test part, 95 % intervals in brackets")
        table.add_column("metric")
        rivals = scores["rivals"]
        for column in ["this model", *rivals]:
            table.add_column(column, justify="right")
        shown = {
            name: value for name, value in scores["metrics"].items() if name.partition("-")[0] not in ONLY_IN_REPORT
        }
        for metric, value in shown.items():
            others = [_shown(entry["metrics"].get(metric)) for entry in rivals.values()]
            table.add_row(metric, _shown(value), *others)
        console.print(table)
        if len(shown) < len(scores["metrics"]):
            console.print("more metrics, and what exactly they mean: metrics.json and the report", highlight=False)
        notes = [(rival, note) for rival, entry in rivals.items() for note in entry["notes"]]
        for rival, note in [*notes, *scores["rivals_skipped"].items()]:
            console.print(f"{rival}: {note}", markup=False, highlight=False, soft_wrap=True)


def _shown(value: dict[str, Any] | None) -> str:
    if value is None or value["value"] is None:
        return "–"
    low, high = value["lo"], value["hi"]
    return _plain(value["value"], 4) + (f" [{_plain(low, 3)}, {_plain(high, 3)}]" if low is not None else "")


def _plain(value: float, digits: int) -> str:
    """A number for people: whole with thousands apart, or with so many significant digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"


def predict(
    console: Console,
    run: Path,
    data: Path | None,
    output: Path | None,
    texts: list[str],
    *,
    name: str | None,
    horizon: int | None,
    trusted: list[str],
) -> None:
    """Answers for a table, for JSON lines from standard input, or for one text."""
    trained = load(run, trusted=trusted)
    source, ledger = _to_answer(trained, data, texts), Ledger()
    answers = trained.predict(source, output=name, horizon=horizon, ledger=ledger)
    _show_ledger(console, ledger, limit=MOST_SHOWN)
    if output is not None:
        write_frame(output, answers)
        console.print(f"{len(answers)} answers written to {output}", highlight=False)
    elif texts:
        _show_answer(console, answers)
    else:
        sys.stdout.write(plain_dates(answers).write_ndjson())


def _to_answer(trained: Trained, data: Path | None, texts: list[str]) -> Path | pl.DataFrame:
    if data is not None and texts:
        raise UsageError(f"both --data {data} and --text are given; expected one of them")
    if data is not None:
        return data
    if texts:
        return _one_row(trained, texts)
    if sys.stdin.isatty():
        raise UsageError("nothing to answer: give --data FILE or --text TEXT, or pipe JSON lines in")
    return read_json_lines(sys.stdin.buffer.read(), "standard input")


def _one_row(trained: Trained, texts: list[str]) -> pl.DataFrame:
    """A table of one row with the given texts, in the order in which the model's columns stand in its recipe."""
    columns = [column for input in trained.model.inputs.values() if isinstance(input, Text) for column in input.columns]
    others = [c for i in trained.model.inputs.values() if not isinstance(i, Text) for c in i.columns]
    if not columns or others:
        read = ", ".join(columns + others)
        raise UsageError(f"--text answers for models that read texts alone; this one reads {read}: use --data")
    if len(texts) != len(columns):
        raise UsageError(f"--text is given {len(texts)} times; expected it once for each of: {', '.join(columns)}")
    for column, text in zip(columns, texts, strict=True):
        _require_text(column, text)
    empty = [column for column, text in zip(columns, texts, strict=True) if not text.strip()]
    if empty:
        raise UsageError(f"the text for {', '.join(empty)} is empty; expected some words")
    return pl.DataFrame({column: [text] for column, text in zip(columns, texts, strict=True)})


def _require_text(column: str, text: str) -> None:
    """Raise where an argument is no text; for each byte that it cannot read Python has put half a surrogate pair."""
    given = text.encode("utf-8", "surrogateescape")
    try:
        given.decode()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"the text for {column} is not UTF-8: byte 0x{given[error.start]:02x} at byte {error.start}; "
            "check the encoding of the terminal, or give the text in a file with --data"
        ) from None


def _show_answer(console: Console, answers: pl.DataFrame) -> None:
    """One answer: each of its parts by name, chances from the likeliest on."""
    row = {name: value for name, value in answers.row(0, named=True).items() if name not in ("id", "y")}
    chances = sorted((name for name in row if name.startswith("p-")), key=lambda name: -row[name])
    table = Table(show_header=False)
    for name in [*(name for name in row if name not in chances), *chances[:MOST_SHOWN]]:
        if row[name] is not None:
            table.add_row({"y_hat": "answer"}.get(name, name.removeprefix("p-")), _cell(row[name]))
    console.print(table)


def backtest_run(
    console: Console,
    target: Path,
    data: Path,
    output: Path,
    windows: int | None,
    refit: int | None,
    trusted: list[str],
) -> dict[str, Any]:
    """Rolling-origin forecasts of a run, or of a recipe that is trained first; returns the errors by series."""
    if target.is_dir() or target.suffix == ".seqloom":
        trained = load(target, trusted=trusted)
    else:
        with console.status("training"):
            trained = fit(target, data)
    frames = backtest(trained.model, read_dataset(trained.model, data), windows=windows, refit=refit)
    several = len(frames) > 1
    named = [frame.with_columns(output=pl.lit(name)) if several else frame for name, frame in frames.items()]
    frame = pl.concat(named, how="diagonal")
    write_frame(output, frame)
    error = (pl.col("y") - pl.col("y_hat")).abs().mean()
    by_series = dict(frame.group_by("unique_id", maintain_order=True).agg(error).iter_rows())
    found = {"forecasts": len(frame), "MAE": frame.select(error).item(), "series": by_series}
    console.print(f"{len(frame)} forecasts written to {output}; MAE {_error(found['MAE'])}", highlight=False)
    for name, value in list(by_series.items())[:MOST_SHOWN]:
        console.print(f"  {name}: MAE {_error(value)}", markup=False, highlight=False)
    return found


def _error(value: float | None) -> str:
    """An error, which a series without any truth has not."""
    return "unknown" if value is None else _plain(value, 6)


def doctor(console: Console, run: Path, data: Path | None, apply: Path | None) -> dict[str, Any]:
    """Measure how a run trains, name its diseases, and write the changed recipe where that is wanted."""
    data = run_data(run, data)
    with console.status("looking at states, gates and gradients"):
        patient = admit(run, data)
        traced, places = trace_some(patient)
        findings = examine(patient, traced)
        found = diagnose(findings, patient.model.recipe)
    console.print(describe(findings, found), markup=False, highlight=False, soft_wrap=True)
    document = {"diagnoses": [to_json(diagnosis) for diagnosis in found], **findings.to_json()}
    write_json(run / "doctor.json", document)
    write_json(run / "gates.json", at_work(patient, traced, places))
    write_report(run)
    _say_files(console, run, ["doctor.json", "report.html"])
    if apply is not None:
        _apply(console, run, found, apply)
    return document


def _apply(console: Console, run: Path, found: list[Diagnosis], target: Path) -> None:
    """The run's recipe with the treatment, in a file whose former content is kept beside it."""
    edits = merged(found)
    if not edits:
        console.print(f"nothing to change, so {target} was not written", highlight=False)
        return
    former = keep_former(target)
    write_bytes_atomic(target, treated(run / "recipe.full.yaml", edits).encode())
    if former is not None:
        console.print(f"the former {target} is {former}", highlight=False)
    console.print(f"recipe written to {target}\nNext: seqloom train {target} --data DATA -o RUN", highlight=False)


def report(console: Console, run: Path) -> None:
    """The report as one page."""
    require_run(run)
    console.print(f"report written to {write_report(run)}", highlight=False)


def bench(
    console: Console, names: list[str], json_file: Path | None, *, quick: bool, tiny: bool, threads: int | None
) -> None:
    """Benchmarks, a table for each as it ends."""
    wanted = measure.chosen(names)
    setting = measure.prepare(threads, QUICK if quick else FULL, tiny=tiny)
    console.width = max(console.width, table.WIDTH)
    console.print(*table.limits(measure.machine(setting.limits)), sep="\n", highlight=False)

    def tell(name: str, rows: list[Row]) -> None:
        shown = table.terminal(name, [row.to_json() for row in rows])
        console.print(shown, crop=False)

    document = measure.measure(wanted, setting, tell)
    if document["caveat"]:
        console.print(document["caveat"], style="red")
    if json_file is not None:
        write_json(json_file, document)
        console.print(f"figures written to {json_file}", highlight=False)


def _show_coming(console: Console, coming: pl.DataFrame) -> None:
    interval = [column for column in coming.columns if column.startswith(("lo-", "hi-"))][:2]
    series = ["unique_id"] if coming["unique_id"].n_unique() > 1 else []
    shown = plain_dates(coming).select(*series, "ds", "step", "y_hat", *interval).head(MOST_SHOWN)
    table = Table(title="coming steps")
    for column in shown.columns:
        table.add_column(column, justify="left" if column in ("unique_id", "ds") else "right", no_wrap=True)
    for row in shown.iter_rows():
        table.add_row(*map(_cell, row))
    console.print(table)
    if len(coming) > len(shown):
        console.print(f"... and {len(coming) - len(shown)} more rows in forecast.csv")


def _cell(value: object) -> str:
    return _plain(value, 4) if isinstance(value, float) else str(value)


def _say_files(console: Console, run: Path, names: list[str]) -> None:
    for name in names:
        console.print(f"  {run / name}", highlight=False, soft_wrap=True)
