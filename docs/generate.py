"""Pages made while the site is built: recipe, command line and cells from the code, benchmarks from a run's figures.

MkDocs calls `on_files` and `on_page_markdown`. What is made is not committed, so none can be older than its source.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from seqloom.bench import table
from seqloom.cells.cell import Cell
from seqloom.cli import app
from seqloom.explain.cell import draw_cell, explain_cell
from seqloom.inputs.input import Input
from seqloom.lookup import find, names
from seqloom.outputs.output import Output
from seqloom.recipe import Recipe
from seqloom.settings import Settings

FIGURES = Path(__file__).with_name("benchmarks.json")  # written by `seqloom bench all --json docs/benchmarks.json`
FIGURES_ASKED = re.compile(r"^<!-- figures: (.+) -->$", re.MULTILINE)
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
_WORDS: dict[Any, str] = {int: "whole number", float: "number", str: "text", bool: "true or false"}


def pages() -> dict[str, str]:
    """The content of every generated file, by its path in the site."""
    found = {"reference/recipe.md": recipe_page(), "reference/cli.md": cli_page(), "reference/cells.md": cells_page()}
    found["reference/benchmarks.md"] = benchmarks_page()
    drawings = {f"reference/cells/{name}.svg": draw_cell(find("cells", name, Cell)) for name in names("cells")}
    return found | drawings


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages to the site."""
    from mkdocs.structure.files import File

    for path, content in pages().items():
        files.append(File.generated(config, path, content=content))
    return files


def recipe_page() -> str:
    """Every setting of a recipe, with type, default and description."""
    parts = [
        "# Recipe\n",
        "A recipe is one YAML file. This page is made from the code that checks it. Unknown keys are errors; the",
        "message names the line and the nearest known key. Every setting can be replaced on the command line, as in",
        "`seqloom train recipe.yaml --data DATA -o RUN training.steps=500`.\n",
        *_section("The file", Recipe, ""),
        *_section("`data`", _inner(Recipe, "data"), "data."),
        *_section("`data.split`", _inner(_inner(Recipe, "data"), "split"), "data.split."),
        *_section("`core`", _inner(Recipe, "core"), "core."),
        *_section("`core.front`", _inner(_inner(Recipe, "core"), "front"), "core.front.N."),
        *_section("`training`", _inner(Recipe, "training"), "training."),
        "## `inputs`\n",
        "Each entry has a free name and a `kind`. A kind of your own is an import path, `package.module:Class`.\n",
        *_kinds("inputs", Input),
        "## `outputs`\n",
        *_kinds("outputs", Output),
    ]
    return "\n".join(parts) + "\n"


def _inner(settings: type[Settings], key: str) -> type[Settings]:
    inner = settings.model_fields[key].annotation
    inner = next(iter(get_args(inner)), inner)  # of a list, what its entries are
    assert isinstance(inner, type)
    assert issubclass(inner, Settings)
    return inner


def _kinds(room: str, base: type[Input] | type[Output]) -> Iterator[str]:
    for name in names(room):
        kind: type[Any] = find(room, name, base)
        yield f"### `kind: {name}` ({room.removesuffix('s')}) {{ #{room}-{name} }}\n"
        yield from _table(kind, kind.Settings, f"{room}.NAME.")


def _section(title: str, settings: type[Settings], prefix: str) -> Iterator[str]:
    yield f"## {title}\n"
    yield from _table(settings, settings, prefix)


def _table(described: type[Any], settings: type[Settings], prefix: str) -> Iterator[str]:
    yield _docstring(described) + "\n"
    yield "| key | type | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for key, field in settings.model_fields.items():
        cells = (f"`{prefix}{key}`", type_text(field), default_text(field), field.description or "")
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _docstring(described: type[Any]) -> str:
    """The docstring up to its sections such as `Raises:`."""
    import inspect

    text = inspect.getdoc(described) or ""
    kept: list[str] = []
    for line in text.splitlines():
        if line in ("Args:", "Raises:", "Attributes:"):
            break
        kept.append(line)
    return "\n".join(kept).strip()


def type_text(field: FieldInfo) -> str:
    """A type in words, with its bounds."""
    bounds = [
        f"{sign} {getattr(bound, name):g}"
        for bound in field.metadata
        for name, sign in _BOUNDS.items()
        if getattr(bound, name, None) is not None
    ]
    return ", ".join([_type_words(field.annotation), *bounds])


def _type_words(annotation: Any) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " or ".join(_type_words(arg) for arg in args if arg is not NoneType)
    if origin is Literal:
        return ", ".join(f"`{arg}`" for arg in args)
    if origin is Annotated:
        return _type_words(args[0])
    if origin is list:
        return f"list of {_type_words(args[0])}"
    if origin is dict:
        return "values by name" if args[1] is Any else "sections by name"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(f"`{member.value}`" for member in annotation)
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return "section"
    return _WORDS[annotation]


def default_text(field: FieldInfo) -> str:
    """A default as YAML writes it."""
    if field.is_required():
        return "required"
    value = field.default if field.default_factory is None else None
    if value is None or value == {}:
        return ""
    if isinstance(value, Enum):
        value = value.value
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def cli_page() -> str:
    """Every command with its arguments and options."""
    group: Any = typer.main.get_command(app)
    parts = [
        "# Command line\n",
        "This page is made from the commands themselves; `seqloom COMMAND --help` says the same. Exit codes are on the",
        "page [Errors and exit codes](../concepts/errors.md).\n",
        "`OVERRIDES` are settings of the recipe, written `key.path=value`; they come last.\n",
    ]
    for name, command in group.commands.items():
        parts += [
            f"## `seqloom {name}`\n",
            f"{command.help}\n",
            f"{command.epilog.replace('Example: ', 'Example: `').replace(', or: ', '`, or `')}`\n",
        ]
        parts += ["| argument | default | meaning |", "| --- | --- | --- |"]
        parts += [_parameter(parameter) for parameter in command.params if parameter.name != "help"]
        parts.append("")
    return "\n".join(parts) + "\n"


def _parameter(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        shown = parameter.name.upper()
    else:
        shown = ", ".join([*parameter.opts, *parameter.secondary_opts])
    default = parameter.default
    written = "required" if parameter.required else "optional" if default in (None, False, [], ()) else f"`{default}`"
    return f"| `{shown}` | {written} | {parameter.help or ''} |"


def cells_page() -> str:
    """Each cell in words, in equations and as a drawing."""
    parts = [
        "# Cells\n",
        "A cell is one file in `seqloom/cells`: equations, source, weights, initial state, one step. The text and the",
        "drawing below are made from its `equations`; a test evaluates those against its code. On the command line:",
        "`seqloom explain cell lstm -o lstm.svg`.\n",
        "In a recipe a cell is named by its file, `core.cell: lstm`, or by the import path of",
        "[a cell of your own](../tutorials/own-cell.md).\n",
    ]
    for name in names("cells"):
        cell: type[Cell] = find("cells", name, Cell)
        parts += [f"## {name}\n", f"{(cell.__doc__ or '').splitlines()[0]}\n"]
        parts += [f"![The {name} cell as boxes and lines](cells/{name}.svg)\n", "```text", explain_cell(cell), "```\n"]
    return "\n".join(parts)


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Put the recorded figures into the pages that ask for them."""
    return with_figures(markdown)


def with_figures(markdown: str, figures: Path = FIGURES) -> str:
    """A page with its promises measured: a table of rows where it says `<!-- figures: BENCHMARK | NAME | RIVAL -->`.

    Names and rivals may hold `*`. Only rows with a goal are shown. `<!-- figures: all -->` becomes one line for each
    such place, under the heading it stands below.
    """
    recorded = figures.exists()
    run = json.loads(figures.read_text(encoding="utf-8")) if recorded else {"rows": [], "caveat": ""}

    def shown(match: re.Match[str]) -> str:
        if not recorded:
            return "*Not recorded yet: `seqloom bench all --json docs/benchmarks.json` measures it.*"
        lines = _summary(markdown, run) if match[1] == "all" else promise_table(promised(run, match[1]))
        return "\n".join(lines)

    return FIGURES_ASKED.sub(shown, markdown)


def promised(run: dict[str, Any], asked: str) -> list[dict[str, Any]]:
    """The rows with a goal that `BENCHMARK | NAME | RIVAL` asks for."""
    wanted = asked.split(" | ")
    return [
        row
        for row in run["rows"]
        if row["goal"] and all(map(fnmatchcase, (row["benchmark"], row["name"], row["rival"]), wanted))
    ]


def promise_table(rows: list[dict[str, Any]]) -> list[str]:
    """What was measured of one promise, with what is missing to its dream."""
    if not rows:
        return ["*The recorded run has no row of it.*"]
    lines = ["| | B,T,I,H | ours | theirs | ratio | reached | to the dream | at the limit |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: |")
    for row in rows:
        what, sizes, ours, _, theirs, ratio, *_ = table.cells(row)
        limit = f"{row['ratio'] / row['share']:.3g}x" if row["share"] and row["unit"] == "ms" else ""
        cells = (what, sizes, ours, theirs, ratio, row["reached"] or "not measured", _to_dream(row), limit)
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _summary(markdown: str, run: dict[str, Any]) -> list[str]:
    """One line for each promise of a page."""
    lines = [f"**{run['caveat']}**\n"] if run["caveat"] else []
    lines += [
        "| promise | bar | dream | measured | bars reached | dreams reached |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for title, asked in re.findall(r"^## (.+)$[^#]*?^<!-- figures: (.+) -->$", markdown, re.MULTILINE):
        rows = promised(run, asked)
        figures = sorted(figure for row in rows if (figure := _figure(row)) is not None)
        ends = " to ".join(dict.fromkeys(f"{figure:.3g}" for figure in (figures[:1] + figures[-1:])))
        goals = {key: ", ".join(dict.fromkeys(_goal(row["goal"], key) for row in rows)) for key in ("bar", "dream")}
        counts = [sum(row["reached"] in names for row in rows) for names in (("bar", "dream"), ("dream",))]
        reached = [f"{count} of {len(figures)}" if figures else "not measured" for count in counts]
        lines.append("| " + " | ".join([title, goals["bar"], goals["dream"], ends, *reached]) + " |")
    return lines


def _goal(goal: dict[str, Any], key: str) -> str:
    return f"{'≤ ' * goal['at_most']}{goal[key]:g}"


def _figure(row: dict[str, Any]) -> float | None:
    """What a goal speaks of."""
    figure: float | None = row[row["goal"]["of"]]
    return figure


def _to_dream(row: dict[str, Any]) -> str:
    """The factor that is missing."""
    figure, goal = _figure(row), row["goal"]
    if figure is None or row["reached"] == "dream":
        return ""
    return f"{figure / goal['dream'] if goal['at_most'] else goal['dream'] / figure:.2g}x"


def benchmarks_page(figures: Path = FIGURES) -> str:
    """The table of the recorded run; of none, how to make one."""
    parts = ["# Benchmarks\n", "How to read this table: [Benchmarks](../concepts/benchmarks.md).\n"]
    if not figures.exists():
        return "\n".join([*parts, "No run is recorded. `seqloom bench all --json docs/benchmarks.json` records one.\n"])
    run = json.loads(figures.read_text(encoding="utf-8"))
    versions = ", ".join(f"{name} {version}" for name, version in run["machine"]["versions"].items() if version)
    parts += [*table.limits(run["machine"]), f"{versions}; {run['threads']} threads, medians of {run['repeats']}.\n"]
    if run["caveat"]:
        parts.append(f"**{run['caveat']}**\n")
    for name in dict.fromkeys(row["benchmark"] for row in run["rows"]):
        rows = [row for row in run["rows"] if row["benchmark"] == name]
        parts += [f"## {name}\n", *table.markdown(rows), ""]
    return "\n".join(parts) + "\n"
