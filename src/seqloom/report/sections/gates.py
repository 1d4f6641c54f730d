"""Gates and states over an example, beside its input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seqloom.report.charts import INK, Trace, View, chart, label, line, rival_color
from seqloom.report.html import Html, note, section, table
from seqloom.report.numbers import number
from seqloom.report.run_files import RunFiles

Example = Mapping[str, Any]
OPEN = [[0, "var(--panel)"], [1, "var(--model)"]]
SIGNED = [[0, "var(--rival-1)"], [0.5, "var(--panel)"], [1, "var(--model)"]]
WORDS = 60  # steps up to which each word is written out


def gates(run: RunFiles) -> Html | None:
    """Heat maps to choose from, and the units that follow what is read; nothing before `seqloom doctor`."""
    if run.gates is None or not run.gates["examples"]:
        return None
    factor = run.gates["steps_per_core_step"]
    views = [
        View(
            traces=[_heat(layer, part), *_inputs(example, layer, factor)],
            group=f"{layer['name']}, {_title(part)}",
            label=f"example {label(example['id'])}",
            layout=_layout(example),
        )
        for layer_place in range(len(run.gates["examples"][0]["layers"]))
        for part_place in range(len(run.gates["examples"][0]["layers"][layer_place]["parts"]))
        for example in reversed(run.gates["examples"])
        for layer in [example["layers"][layer_place]]
        for part in [layer["parts"][part_place]]
    ]
    picture = chart(views, alt="Gates and states of units over the steps of an example", height=520)
    said = "Rows are units: first those that follow something, then the most active. Examples are of the training part."
    return section("Gates at work", picture, note(said), *_followers(run.gates["followers"]))


def _title(part: Mapping[str, Any]) -> str:
    return f"state {part['name']}" if part["kind"] == "state" else f"gate {part['name']} ({part['kind']})"


def _heat(layer: Mapping[str, Any], part: Mapping[str, Any]) -> Trace:
    """Open is dark; what may be negative has two colours."""
    values: Sequence[Sequence[float]] = part["values"]
    largest = max((abs(value) for row in values for value in row), default=0.0) or 1.0
    top = 1.0 if part["kind"] in ("sigmoid", "tanh") else largest
    return {
        "type": "heatmap",
        "x": [layer["first"] + step for step in range(len(values[0]) if values else 0)],
        "y": [f"unit {unit}" for unit in layer["units"][: len(values)]],
        "z": values,
        "zmin": 0 if part["kind"] == "sigmoid" else -top,
        "zmax": top,
        "colorscale": OPEN if part["kind"] == "sigmoid" else SIGNED,
        "colorbar": {"thickness": 12, "len": 0.7, "y": 0.35},
        "hovertemplate": "%{y}, step %{x}: %{z}<extra></extra>",
    }


def _inputs(example: Example, layer: Mapping[str, Any], factor: int) -> list[Trace]:
    """Numbers as lines, words as words, above the heat map."""
    found = []
    for place, given in enumerate(example["inputs"]):
        values = given.get("numbers") or given.get("words")
        x = [layer["first"] + (step - (factor - 1) / 2) / factor for step in range(len(values))]
        if "numbers" in given:
            drawn = line(x, given["numbers"], given["name"], rival_color(place))
            found.append({**drawn, "mode": "lines", "yaxis": "y2"})
        else:
            found.append(_words(x, given))
    return found


def _words(x: list[float], given: Mapping[str, Any]) -> Trace:
    few = len(x) <= WORDS
    return {
        "type": "scatter",
        "mode": "text" if few else "markers",
        "name": label(given["name"]),
        "x": x,
        "y": [0] * len(x),
        "text": [label(word) for word in given["words"]],
        "hovertemplate": "step %{x}: %{text}<extra></extra>",
        "textfont": {"color": INK},
        "marker": {"color": INK, "size": 3},
        "yaxis": "y2",
    }


def _layout(example: Example) -> dict[str, Any]:
    names = ", ".join(given["name"] for given in example["inputs"])
    numbers = sum("numbers" in given for given in example["inputs"])
    plain = {"showgrid": False, "zeroline": False}
    return {
        "xaxis": {"title": {"text": f"step; above: {label(names)}" if names else "step"}, **plain},
        "yaxis": {"domain": [0, 0.74], "autorange": "reversed", **plain},
        "yaxis2": {"domain": [0.79, 1], "automargin": True, "nticks": 3, "showticklabels": numbers > 0, **plain},
        "showlegend": numbers > 1,
    }


def _followers(found: Sequence[Mapping[str, Any]]) -> list[Html]:
    if not found:
        return [note("No unit's memory goes along with an input, a running sum of one, or an answer.")]
    rows = [
        [f["follows"], f"unit {f['unit']} of {f['layer']}, state {f['state']}", number(f["correlation"])] for f in found
    ]
    return [table(["what is followed", "by", "correlation"], rows)]
