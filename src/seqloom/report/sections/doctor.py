"""How the run trains, as the doctor found it: on its rounds while training, and by `seqloom doctor`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seqloom.report.charts import MODEL, View, chart, line, rival_color
from seqloom.report.html import Html, element, note, paragraph, section, table
from seqloom.report.run_files import RunFiles

Looks = Sequence[Mapping[str, Any]]


def doctor(run: RunFiles) -> Html | None:
    """The diagnosis with its treatment, the gradient by lag, and the rounds; nothing where no doctor was called."""
    looks = [row for row in run.log or () if "doctor" in row]
    parts: list[Html] = []
    if run.doctor is not None:
        parts += [*_diagnoses(run.doctor["diagnoses"]), _curves(run.doctor), _reach(run.doctor)]
    if looks:
        parts += _rounds(looks)
    return section("Gradient doctor", *parts) if parts else None


def _rounds(looks: Looks) -> list[Html]:
    """What was found while training, and when."""
    said = f"Looks while training: {len(looks)}, the last after step {looks[-1]['step']}."
    names = dict.fromkeys(found["name"] for look in looks for found in look["doctor"])
    if not names:
        return [note(f"{said} Nothing was found.")]
    return [
        note(said),
        table(["found while training", "after step", "evidence, change"], [_found(n, looks) for n in names]),
    ]


def _found(name: str, looks: Looks) -> list[object]:
    """One disease: when it was there, and what was said of it the last time."""
    there = [(look["step"], found) for look in looks for found in look["doctor"] if found["name"] == name]
    first, (last, found) = there[0][0], there[-1]
    when = f"{first}" if first == last else f"{first} to {last}, {len(there)} of {len(looks)} looks"
    changes = [element("code", f" {edit['key']}={edit['value']}") for edit in found["edits"]]
    return [name, when, element("span", f"{found['evidence']}.", *changes)]


def _diagnoses(found: Sequence[Mapping[str, Any]]) -> list[Html]:
    if not found:
        return [element("p", "Healthy: nothing to change.", class_="verdict good")]
    parts = []
    for diagnosis in found:
        name = element("strong", diagnosis["name"].capitalize())
        parts.append(element("p", name, f": {diagnosis['evidence']}.", class_="verdict bad"))
        edits = [[element("code", f"{e['key']}={e['value']}"), e["reason"]] for e in diagnosis["edits"]]
        parts.append(table(["change", "why"], edits) if edits else paragraph("No setting is known to help."))
    return parts


def _curves(found: Mapping[str, Any]) -> Html:
    traces = []
    for place, layer in enumerate(found["layers"]):
        curve = [value if value else None for value in layer["gradient_by_lag"]]  # a logarithm has no zero
        color = MODEL if place == 0 else rival_color(place - 1)
        traces.append({**line(list(range(1, len(curve) + 1)), curve, layer["name"], color), "mode": "lines"})
    layout = {
        "xaxis": {"title": {"text": "steps back from the answer"}},
        "yaxis": {"title": {"text": "gradient over that at lag 1"}, "type": "log", "exponentformat": "power"},
        "showlegend": True,
    }
    return chart([View(traces)], alt="Gradient with respect to the state, by lag", layout=layout, height=300)


def _reach(found: Mapping[str, Any]) -> Html:
    reach = found["reach"]
    if reach["steps"] is None:
        return note(f"Lags that matter in the data: unknown, {reach['reason']}.")
    return note(f"In the data, inputs matter up to {reach['steps']} steps back.")
