"""How the run trains, as `seqloom doctor` found it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seqloom.report.charts import MODEL, RIVALS, View, chart, line
from seqloom.report.html import Html, element, note, paragraph, section, table
from seqloom.report.run_files import RunFiles


def doctor(run: RunFiles) -> Html | None:
    """The diagnosis with its treatment, and the gradient by lag; nothing before `seqloom doctor`."""
    if run.doctor is None:
        return None
    return section("Gradient doctor", *_diagnoses(run.doctor["diagnoses"]), _curves(run.doctor), _reach(run.doctor))


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
        color = MODEL if place == 0 else RIVALS[(place - 1) % len(RIVALS)]
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
