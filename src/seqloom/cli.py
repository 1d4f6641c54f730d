"""The command line: a table of commands; the work is in `commands.py`, which is imported when one runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Sequences in, sequences out: recurrent models declared in a recipe.",
)

Data = Annotated[Path, typer.Option("--data", help="table, or folder with the table that the recipe names")]
OptionalData = Annotated[Path | None, typer.Option("--data", help="table or folder; omitted: the run's own")]
Output = Annotated[Path, typer.Option("-o", "--output", help="where to write")]
Overrides = Annotated[list[str] | None, typer.Argument(help="settings such as training.steps=500")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="empty an earlier run of that name first")]
Json = Annotated[bool, typer.Option("--json", help="print JSON; what people read goes to standard error")]
Trust = Annotated[list[str] | None, typer.Option("--trust", help="import path (package.module:Class) the file may use")]
Run = Annotated[Path, typer.Argument(help="run directory")]


def _example(line: str) -> str:
    return f"Example: {line}"


@app.command(epilog=_example("seqloom forecast sales.csv --horizon 7"))
def forecast(
    data: Annotated[Path, typer.Argument(help="table with a column of dates")],
    overrides: Overrides = None,
    horizon: Annotated[int, typer.Option(help="steps ahead")] = 7,
    time: Annotated[str | None, typer.Option(help="column of dates")] = None,
    target: Annotated[list[str] | None, typer.Option(help="column to forecast; may be given several times")] = None,
    id: Annotated[str | None, typer.Option(help="column naming the series")] = None,
    output: Output = Path("runs/forecast"),
    write_recipe: Annotated[Path | None, typer.Option(help="also write the recipe there")] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Forecast the coming steps of a table: check, train, evaluate, forecast, report."""
    found = _work().forecast(
        _console(json),
        data,
        horizon,
        time=time,
        target=target or [],
        id=id,
        output=output,
        write_recipe=write_recipe,
        overwrite=overwrite,
        overrides=overrides or [],
    )
    _print(found, json)


@app.command(epilog=_example("seqloom init reviews.jsonl --output stars:number -o recipe.yaml"))
def init(
    data: Annotated[Path, typer.Argument(help="table")],
    input: Annotated[list[str] | None, typer.Option("--input", help="NAME:KIND of an input")] = None,
    answer: Annotated[list[str] | None, typer.Option("--output", help="NAME:KIND of an output")] = None,
    output: Annotated[Path, typer.Option("-o", help="recipe to write")] = Path("recipe.yaml"),
) -> None:
    """Write a recipe for a table, guessing what is not said."""
    _work().init(_console(), data, _pairs(input, "--input"), _pairs(answer, "--output"), output)


@app.command(epilog=_example("seqloom check recipe.yaml --data sales.csv"))
def check(
    recipe: Annotated[Path, typer.Argument(help="recipe")], data: Data, overrides: Overrides = None, json: Json = False
) -> None:
    """List every problem of the data before anything is trained."""
    _work().check(_console(), recipe, data, overrides or [], json)


@app.command(epilog=_example("seqloom explain recipe.yaml --data sales.csv, or: seqloom explain cell lstm -o lstm.svg"))
def explain(
    target: Annotated[str, typer.Argument(help="recipe, run directory, or the word cell")],
    name: Annotated[str | None, typer.Argument(help="after the word cell: its name")] = None,
    data: OptionalData = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="drawing of a cell")] = None,
    json: Json = False,
    trust: Trust = None,
) -> None:
    """Topology, shapes, parameters, memory and kernels; or a cell's equations and drawing."""
    if target == "cell":
        if name is None:
            raise typer.BadParameter("expected the name of a cell, such as: seqloom explain cell lstm")
        _work().explain_cell(_console(), name, output)
    else:
        _work().explain(_console(), Path(target), data, json, trust or [])


@app.command(epilog=_example("seqloom train recipe.yaml --data sales.csv -o runs/first training.steps=500"))
def train(
    recipe: Annotated[Path, typer.Argument(help="recipe")],
    data: Data,
    output: Output,
    overrides: Overrides = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Train a recipe into a run directory."""
    _print(_work().train(_console(json), recipe, data, output, overrides or [], overwrite), json)


@app.command(epilog=_example("seqloom resume runs/first"))
def resume(
    run: Run, inexact: Annotated[bool, typer.Option(help="even if data or environment have changed")] = False
) -> None:
    """Go on with an interrupted run, to the last bit."""
    _work().resume(_console(), run, inexact)


@app.command(epilog=_example("seqloom evaluate runs/first --data sales.csv --json metrics.json"))
def evaluate(
    run: Run,
    data: OptionalData = None,
    json: Annotated[Path | None, typer.Option("--json", help="also write the metrics there")] = None,
    trust: Trust = None,
) -> None:
    """Score the test part beside the naive rivals, and prove that no forecast saw the future."""
    _work().evaluate_run(_console(), run, data, json, trust or [])


@app.command(epilog=_example('seqloom predict runs/first --data new.csv -o answers.csv, or: --text "So dull."'))
def predict(
    run: Annotated[Path, typer.Argument(help="run directory or .seqloom file")],
    data: Annotated[
        Path | None, typer.Option("--data", help="table or folder; omitted: JSON lines from standard input")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="where to write; omitted: JSON lines to standard output")
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option("--text", help="a text to answer; once for each column the model reads")
    ] = None,
    name: Annotated[str | None, typer.Option(help="which output, where there are several")] = None,
    horizon: Annotated[int | None, typer.Option(help="coming steps; omitted: as trained")] = None,
    trust: Trust = None,
) -> None:
    """Answers for new data, as csv, jsonl or parquet, or through a pipe; or for one text."""
    console = _console(output is None and not text)
    _work().predict(console, run, data, output, text or [], name=name, horizon=horizon, trusted=trust or [])


@app.command(epilog=_example("seqloom backtest runs/first --data sales.csv -o forecasts.csv"))
def backtest(
    target: Annotated[Path, typer.Argument(help="run directory or recipe")],
    data: Data,
    output: Output,
    windows: Annotated[int | None, typer.Option(help="only the last so many origins")] = None,
    refit: Annotated[int | None, typer.Option(help="train anew after every so many origins")] = None,
    trust: Trust = None,
    json: Json = False,
) -> None:
    """Rolling-origin forecasts over the test part."""
    _print(_work().backtest_run(_console(json), target, data, output, windows, refit, trust or []), json)


@app.command(epilog=_example("seqloom doctor runs/first --apply recipe.yaml"))
def doctor(
    run: Run,
    data: OptionalData = None,
    apply: Annotated[
        Path | None, typer.Option(help="write the changed recipe there; a file of that name is kept beside it")
    ] = None,
    json: Json = False,
) -> None:
    """Say what makes a run hard to train, and what to change."""
    _print(_work().doctor(_console(json), run, data, apply), json)


@app.command(epilog=_example("seqloom report runs/first"))
def report(run: Run) -> None:
    """Write the run's report as one self-contained page."""
    _work().report(_console(), run)


@app.command(epilog=_example("seqloom bench kernels stream --json bench.json"))
def bench(
    names: Annotated[
        list[str], typer.Argument(help="all, or some of kernels, ragged, stream, cells, long, import, applications")
    ],
    json: Annotated[Path | None, typer.Option("--json", help="also write the figures there")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="medians of 5 instead of 30; the output says so")] = False,
    tiny: Annotated[bool, typer.Option("--tiny", help="sizes that only show that everything runs")] = False,
    threads: Annotated[int | None, typer.Option(help="omitted: those of torch")] = None,
) -> None:
    """Measure speed beside torch, ONNX Runtime and the plain loop, and how near the machine's own limits are."""
    _work().bench(_console(), names, json, quick=quick, tiny=tiny, threads=threads)


def _pairs(entries: list[str] | None, option: str) -> dict[str, str]:
    found = {}
    for entry in entries or []:
        name, colon, kind = entry.rpartition(":")
        if not colon or not name:
            raise typer.BadParameter(f"got {entry!r}; expected NAME:KIND, such as {option} y:forecast")
        found[name] = kind
    return found


def _work() -> Any:
    import seqloom.commands

    return seqloom.commands


def _console(json: bool = False) -> Any:
    """Where people read: standard output, or standard error where that is for JSON."""
    from rich.console import Console

    return Console(stderr=json)


def _print(found: dict[str, Any], json: bool) -> None:
    """The figures of a command, where JSON is wanted."""
    if json:
        from json import dumps

        print(dumps(found, indent=2, default=str))


def main() -> None:
    """Run a command; a user's mistake gives a message and an exit code, never a traceback."""
    from seqloom.errors import SeqloomError

    try:
        app(prog_name="seqloom")
    except SeqloomError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
