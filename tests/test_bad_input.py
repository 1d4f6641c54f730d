"""Bad input on the command line: a message with its place, an exit code, no traceback, no half-written files."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows import SEQLOOM, Outcome, daily, environment, flat, forecast_recipe, write
from seqloom.recipe import load_recipe
from seqloom.run import start_run, train_run

pytestmark = pytest.mark.usefixtures("no_auto_ets")
Cli = Callable[..., Outcome]
HEADER = b"unique_id,ds,y\n"
LINES = [b"a,2024-01-%02d,%d.5\n" % (day, day) for day in range(1, 29)]


def assert_refused(found: Outcome, code: int, *parts: str) -> None:
    assert found.code == code, found
    assert found.err.startswith("error: ")
    assert "Traceback" not in found.err
    assert "Traceback" not in found.out
    for part in parts:
        assert part in found.err, found.err


def simple() -> dict[str, Any]:
    """A forecast that reads nothing but the past of y."""
    recipe = forecast_recipe(horizon=2)
    recipe["inputs"] = {"past": {"kind": "series", "columns": ["y"], "scale": "own"}}
    recipe["data"]["context_length"] = 5
    return recipe


# tables


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["data.csv' is empty (0 bytes)"]),
        (HEADER, ["data.csv' has 3 columns but no rows"]),
        (HEADER + b"a,2024-01-01,1\0\0\n", ["data.csv", "NUL"]),
        (HEADER + "é,2024-01-01,1\n".encode("latin-1"), ["data.csv' is not UTF-8: byte 0xe9 at byte 15, line 2"]),
        ("unique_id,ds,y\na,2024-01-01,1\n".encode("utf-16"), ["data.csv", "UTF-16"]),
        (HEADER + b"".join(LINES[:5]) + b"a,soon,3\n" + b"".join(LINES[5:]), ["column 'ds', row 6", "'soon'"]),
        (HEADER + b"".join(LINES[:5]) + b"a,2024-02-01,lots\n" + b"".join(LINES[5:]), ["column 'y', row 6", "'lots'"]),
        (b"unique_id,ds,z\n" + b"".join(LINES), ["'y'", "unique_id, ds, z"]),
        (b"name,when,y\n" + b"".join(LINES), ["'ds'", "'unique_id'"]),
        (HEADER + LINES[0] + b"a,2024-01-01,9\n" + b"".join(LINES[1:]), ["2024-01-01 twice", "row 1", "row 2"]),
    ],
    ids=[
        "empty", "header only", "NUL bytes", "Latin-1", "UTF-16", "a bad date", "a bad number",
        "no target column", "no date column", "a date twice",
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["train", "check", "forecast"])
def test_an_unusable_table(content: bytes, parts: list[str], command: str, tmp_path: Path, cli: Cli) -> None:
    recipe_file, _ = write(tmp_path, simple(), daily())
    table, run = tmp_path / "data.csv", tmp_path / "run"
    table.write_bytes(content)
    if command == "train":
        found = cli("train", recipe_file, "--data", table, "-o", run)
    elif command == "check":
        found = cli("check", recipe_file, "--data", table)
    else:
        given = ["--time", "ds", "--target", "y", "--id", "unique_id"]
        found = cli("forecast", table, *given, "--horizon", 2, "-o", run)
    assert_refused(found, 1)
    for part in parts:
        assert part in found.err or command == "forecast", found.err
    if command == "forecast" and content[:1] in (b"", b"\xff"):
        assert parts[0] in found.err
    assert not run.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.csv", "recipe.yaml"]


def test_a_missing_table(tmp_path: Path, cli: Cli) -> None:
    recipe_file, _ = write(tmp_path, simple(), daily())
    absent = tmp_path / "absent.csv"
    for command in (["train", recipe_file, "--data", absent, "-o", tmp_path / "run"], ["forecast", absent]):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path)
            found = cli(*command)
        assert_refused(found, 1, str(absent))
    assert not (tmp_path / "run").exists()


def test_decimal_commas_are_named(tmp_path: Path, cli: Cli) -> None:
    text = "unique_id;ds;y\n" + "".join(f"a;2024-01-{day:02};{day},5\n" for day in range(1, 29))
    recipe_file, table = write(tmp_path, simple(), daily())
    table.write_text(text)
    found = cli("train", recipe_file, "--data", table, "-o", tmp_path / "run", "data.context_length=3")
    assert_refused(found, 1, "column 'y', row 1", "1,5", "data.decimal_comma: true")
    assert not (tmp_path / "run").exists()
    found = cli(
        "train",
        recipe_file,
        "--data",
        table,
        "-o",
        tmp_path / "run",
        "data.context_length=3",
        "data.decimal_comma=true",
    )
    assert found.code == 0, found.err
    history = pl.read_csv(tmp_path / "run" / "history.csv")
    assert history["y"].to_list()[:2] == [1.5, 2.5]


@pytest.mark.parametrize("kind", ["directory", "fifo", "device"])
def test_what_is_no_file_does_not_hang(kind: str, tmp_path: Path, cli: Cli) -> None:
    recipe_file, _ = write(tmp_path, simple(), daily())
    table = tmp_path / "odd.csv"
    if kind == "directory":
        table.mkdir()
    elif kind == "fifo":
        os.mkfifo(table)
        assert stat.S_ISFIFO(table.stat().st_mode)
    else:
        table = Path("/dev/zero")
    assert_refused(cli("train", recipe_file, "--data", table, "-o", tmp_path / "run"), 1, str(table))


def test_a_table_too_short_to_train_on(tmp_path: Path, cli: Cli) -> None:
    recipe_file, table = write(tmp_path, forecast_recipe(), daily(days=12))
    found = cli("train", recipe_file, "--data", table, "-o", tmp_path / "run")
    assert_refused(found, 1, "no series can be trained on: the longest has", "expected at least 18")
    assert not (tmp_path / "run").exists()


def test_a_known_ahead_column_that_is_the_target_in_disguise(tmp_path: Path, cli: Cli) -> None:
    recipe_file, table = write(tmp_path, forecast_recipe(), daily().with_columns(promo=pl.col("y") * 2 + 1))
    found = cli("train", recipe_file, "--data", table, "-o", tmp_path / "run")
    assert_refused(found, 1, "column 'promo' is declared known ahead but is the target 'y'", "Give it the role past")
    found = cli("check", recipe_file, "--data", table)
    assert_refused(found, 1, "column 'promo'")
    found = cli("check", recipe_file, "--data", table, "--json")
    assert found.code == 1
    assert "column 'promo'" in json.dumps(json.loads(found.out))


# recipes


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("hidden_size: 6", "hiden_size: 6", "hiden_size", "core.hiden_size: unknown key; did you mean 'hidden_size'?"),
        ("core:", "cores:", "cores", "cores: unknown key; did you mean 'core'?"),
        ("  steps: 6", "  stepps: 6", "stepps", "training.stepps: unknown key; did you mean 'steps'?"),
        ("  steps: 6", "  steps: many", "steps:", "training.steps: got 'many'; input should be a valid integer"),
        ("  steps: 6", "  steps: 0", "steps:", "training.steps: got 0; input should be greater than or equal to 1"),
        ("dropout: 0.2", "dropout: 1.5", "dropout: 1.5", "core.dropout: got 1.5; input should be less than 1"),
        ("horizon: 4", "horizon: 0", "horizon", "outputs.coming.horizon: got 0; input should be greater than or equal"),
        ("horizon: 4", "horizn: 4", "horizn", "outputs.coming.horizn: unknown key; did you mean 'horizon'?"),
        (
            "kind: number",
            "kind: numbr",
            "capacity",
            "inputs.capacity: inputs: there is no 'numbr'; did you mean",
        ),
        ("scale: own", "scale: mine", "scale", "inputs.past.scale: got 'mine'; input should be 'own' or 'training'"),
        ("cell: gru", "cell: grru", "cell:", "core.cell: cells: there is no 'grru'; did you mean 'gru'?"),
        (
            "cell: gru",
            "cell: os:system",
            "cell:",
            "'os:system' is <built-in function system>; expected a class",
        ),
        ("cell: gru", "cell: no.where:Cell", "cell:", "cannot import 'no.where:Cell': No module named 'no'"),
        (
            "role: known",
            "role: static",
            "role: static",
            "inputs.promo.role: got 'static'; a series has values along time",
        ),
        ("valid: 0.2", "valid: [1]", "valid", "data.split.valid"),
        ("time: ds", "time: [", "", "is not valid YAML"),
        ("seed: 5", "seed: !!python/object/apply:os.getcwd []", "", "is not valid YAML"),
    ],
)
def test_a_wrong_recipe(old: str, new: str, line: str, message: str, tmp_path: Path, cli: Cli) -> None:
    recipe_file, table = write(tmp_path, forecast_recipe(), daily())
    text = recipe_file.read_text()
    assert text.count(old) >= 1
    recipe_file.write_text(text.replace(old, new, 1))
    for command in (["train", "-o", tmp_path / "run"], ["check"]):
        found = cli(command[0], recipe_file, "--data", table, *command[1:])
        assert_refused(found, 2, str(recipe_file) if line or "YAML" in message else "", message)
        if line:
            lines = recipe_file.read_text().splitlines()
            number = next(k for k, one in enumerate(lines, 1) if line in one)
            assert f"line {number}: " in found.err
    assert not (tmp_path / "run").exists()


def test_every_mistake_is_listed_at_once(tmp_path: Path, cli: Cli) -> None:
    recipe = forecast_recipe()
    recipe["core"]["layers"] = 2
    recipe["training"]["lr"] = -1
    recipe["inputs"]["rain"]["colum"] = "rain"
    recipe_file, table = write(tmp_path, recipe, daily())
    found = cli("check", recipe_file, "--data", table)
    assert_refused(found, 2, "core.layers: unknown key", "training.lr: got -1;", "inputs.rain.colum: unknown key")
    assert found.err.count("line ") == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.steps", "got 'training.steps'; expected key.path=value, such as training.steps=500"),
        ("=5", "got '=5'; expected key.path=value"),
        ("training.steps.more=1", "'training.steps.more=1': 'steps' is a value, not a section"),
        ("training.step=1", "training.step: unknown key; did you mean 'steps'?"),
        ("training.steps=[", "'training.steps=[': the value is not valid YAML"),
    ],
)
def test_a_wrong_override(override: str, message: str, tmp_path: Path, cli: Cli) -> None:
    recipe_file, table = write(tmp_path, forecast_recipe(), daily())
    assert_refused(cli("train", recipe_file, "--data", table, "-o", tmp_path / "run", override), 2, message)
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_is_missing_or_no_text(tmp_path: Path, cli: Cli) -> None:
    _, table = write(tmp_path, forecast_recipe(), daily())
    absent, binary, listed = tmp_path / "absent.yaml", tmp_path / "binary.yaml", tmp_path / "list.yaml"
    binary.write_bytes(b"data: \xff\xfe")
    listed.write_text("- data\n- inputs\n")
    assert_refused(
        cli("check", absent, "--data", table), 2, f"there is no recipe {absent}; write one with `seqloom init"
    )
    assert_refused(cli("check", binary, "--data", table), 2, f"{binary} is not UTF-8 (byte 6); save it as UTF-8")
    assert_refused(cli("check", listed, "--data", table), 2, f"{listed} holds list; expected keys such as data")


def test_parts_that_do_not_fit_together(tmp_path: Path, cli: Cli) -> None:
    def without_past(recipe: dict[str, Any]) -> None:
        del recipe["inputs"]["past"]

    def strange_baseline(recipe: dict[str, Any]) -> None:
        recipe["outputs"]["coming"]["baseline"] = [3]

    def two_kinds(recipe: dict[str, Any]) -> None:
        recipe["outputs"]["mood"] = {"kind": "category"}

    def two_uses(recipe: dict[str, Any]) -> None:
        recipe["inputs"]["again"] = {"kind": "category", "columns": ["rain"], "role": "past"}

    def no_time(recipe: dict[str, Any]) -> None:
        del recipe["data"]["time"]

    for change, message in (
        (without_past, "outputs.coming: a forecast needs the past of its columns ['y']; add the input coming:"),
        (strange_baseline, "outputs.coming.baseline: [3] are no lags of input 'past'; expected some of [7]"),
        (two_kinds, "a forecast and an answer of another kind stand side by side; use a recipe for each"),
        (two_uses, "column 'rain' is used as number and as text; choose one"),
        (no_time, "a forecast needs a time axis; name the column of dates in data.time"),
    ):
        recipe = forecast_recipe()
        change(recipe)
        recipe_file, table = write(tmp_path, recipe, daily())
        assert_refused(cli("train", recipe_file, "--data", table, "-o", tmp_path / "run"), 2, message)
        assert not (tmp_path / "run").exists()


def test_a_kernel_that_cannot_run_is_refused(tmp_path: Path, cli: Cli) -> None:
    recipe = forecast_recipe()
    recipe["core"]["backend"] = "warp"
    recipe_file, table = write(tmp_path, recipe, daily())
    found = cli("train", recipe_file, "--data", table, "-o", tmp_path / "run")
    assert_refused(found, 1, "there is no kernel 'warp'; expected auto or one of")


# places to write to


def test_a_place_that_cannot_be_written(tmp_path: Path, cli: Cli) -> None:
    """Permissions do not bind every user, so: a file in place of a directory, a path through a file, /proc."""
    recipe_file, table = write(tmp_path, forecast_recipe(), daily())
    file = tmp_path / "file"
    file.write_text("kept")
    for place, message in (
        (file, "this is a file, expected a directory: choose another path"),
        (file / "run", "a part of the path is a file, expected a directory"),
        (file / "deeper" / "run", "a part of the path is a file, expected a directory"),
        (Path("/proc/run"), "/proc"),
    ):
        assert_refused(cli("train", recipe_file, "--data", table, "-o", place), 1, str(place.parent), message)
    assert file.read_text() == "kept"


def test_forecast_to_a_place_that_cannot_be_written(tmp_path: Path, cli: Cli) -> None:
    table, file = tmp_path / "data.csv", tmp_path / "file"
    daily().select("unique_id", "ds", "y").write_csv(table)
    file.write_text("kept")
    for place in (file / "run", file / "deeper" / "run", Path("/proc/no/run")):
        assert_refused(cli("forecast", table, "-o", place), 1, str(place.parent))
    assert file.read_text() == "kept"


def test_answers_to_a_place_that_cannot_be_written(tmp_path: Path, cli: Cli) -> None:
    recipe_file, table = write(tmp_path, simple(), daily())
    assert cli("train", recipe_file, "--data", table, "-o", tmp_path / "run", "training.steps=1").code == 0
    place = tmp_path / "no" / "answers.csv"
    assert_refused(
        cli("predict", tmp_path / "run", "--data", table, "-o", place), 1, str(place), "create the directory"
    )
    place = tmp_path / "taken.csv"
    place.mkdir()
    assert_refused(cli("predict", tmp_path / "run", "--data", table, "-o", place), 1, str(place))
    assert list(place.iterdir()) == []


def test_a_full_disk_leaves_no_half_written_file(tmp_path: Path) -> None:
    """The largest file that the process may write is smaller than the model."""
    recipe = simple()
    recipe["core"]["hidden_size"] = 64
    recipe_file, table = write(tmp_path, recipe, daily())
    run = tmp_path / "run"

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    found = subprocess.run(
        [SEQLOOM, "train", str(recipe_file), "--data", str(table), "-o", str(run)],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
        preexec_fn=limit,
    )
    assert found.returncode == 1, found.stderr
    assert "Traceback" not in found.stderr
    assert "bytes are needed: free some space, or choose another disk" in flat(found.stderr)
    assert not (run / "model.seqloom").exists()
    left = [path for path in run.rglob("*") if path.is_file() and ("tmp" in path.name or "step-" in str(path))]
    assert left == []


# runs and files


def small_run(folder: Path) -> Path:
    recipe_file, table = write(folder, simple(), daily())
    recipe, text = load_recipe(recipe_file)
    run, dataset = start_run(recipe, text, table, folder / "run")
    train_run(run, dataset)
    return run


@pytest.mark.parametrize("command", ["evaluate", "report", "resume", "predict", "backtest", "explain"])
def test_what_is_no_run(command: str, tmp_path: Path, cli: Cli) -> None:
    _, table = write(tmp_path, simple(), daily())
    empty = tmp_path / "empty"
    empty.mkdir()
    more = ["--data", table, "-o", tmp_path / "a.csv"] if command in ("predict", "backtest") else []
    assert_refused(cli(command, empty, *more), 1, str(empty))
    assert not (tmp_path / "a.csv").exists()
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize("damage", ["truncated", "flipped", "newer", "pickle"])
@pytest.mark.parametrize("command", ["evaluate", "predict", "explain"])
def test_a_damaged_model_is_refused(damage: str, command: str, tmp_path: Path, cli: Cli) -> None:
    run = small_run(tmp_path)
    file = run / "model.seqloom"
    data = bytearray(file.read_bytes())
    if damage == "flipped":
        data[-9] ^= 4
    damaged, message = {
        "truncated": (data[: len(data) // 2], "truncated"),
        "flipped": (data, "checksum"),
        "newer": (data.replace(b'"version":"1"', b'"version":"7"'), "written by a newer seqloom, format 7"),
        "pickle": (b"\x80\x04K\x01.", "a Python pickle, which could run code and is never loaded"),
    }[damage]
    file.write_bytes(damaged)
    before = sorted(path.name for path in run.iterdir())
    more = ["--data", tmp_path / "data.csv", "-o", tmp_path / "a.csv"] if command == "predict" else []
    assert_refused(cli(command, run, *more), 1, f"{file}: ", message)
    assert sorted(path.name for path in run.iterdir()) == before
    assert not (tmp_path / "a.csv").exists()


def test_infinite_values_stop_before_training(tmp_path: Path, cli: Cli) -> None:
    recipe = simple()
    recipe["inputs"]["rain"] = {"kind": "series"}
    recipe_file, table = write(tmp_path, recipe, daily())
    lines = table.read_text().splitlines()
    cells = lines[11].split(",")
    cells[lines[0].split(",").index("rain")] = "inf"
    table.write_text("\n".join([*lines[:11], ",".join(cells), *lines[12:]]))
    found = cli("train", recipe_file, "--data", table, "-o", tmp_path / "run")
    assert_refused(found, 1, "column 'rain', row 11", "inf")
    assert not (tmp_path / "run").exists()


def test_a_data_folder_without_the_table(tmp_path: Path, cli: Cli) -> None:
    recipe = simple()
    recipe["data"]["table"] = "sales.csv"
    recipe_file, _ = write(tmp_path, recipe, daily())
    assert_refused(cli("check", recipe_file, "--data", tmp_path), 1, "sales.csv")


def test_a_table_named_outside_its_folder(tmp_path: Path, cli: Cli) -> None:
    recipe = simple()
    recipe["data"]["table"] = "../data.csv"
    recipe_file, _ = write(tmp_path, recipe, daily())
    inside = tmp_path / "inside"
    inside.mkdir()
    found = cli("check", recipe_file, "--data", inside)
    assert_refused(found, 1, f"data.table is '../data.csv', which leads out of the folder '{inside}'")


def test_deeply_nested_yaml(tmp_path: Path, cli: Cli) -> None:
    recipe_file, table = write(tmp_path, simple(), daily())
    recipe_file.write_text("data: " + "[" * 5000)
    assert_refused(cli("check", recipe_file, "--data", table), 2, f"{recipe_file} is not valid YAML")
