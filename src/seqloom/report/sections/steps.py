"""Error by step: how the error grows with the distance from the origin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seqloom.report.charts import MODEL, Trace, View, chart, label, line, rival_color
from seqloom.report.html import Html, section
from seqloom.report.run_files import Output


def steps(output: Output) -> Html | None:
    """MAE by step ahead of model and rivals; nothing for outputs without steps."""
    if not output.scores.get("steps"):
        return None
    traces = [_curve("model", output.scores["steps"], MODEL)]
    for place, (rival, scores) in enumerate(output.scores.get("rivals", {}).items()):
        if scores.get("steps"):
            traces.append(_curve(rival, scores["steps"], rival_color(place)))
    unit = output.scores.get("metrics", {}).get("MAE", {}).get("unit", "")
    layout = {
        "xaxis": {"title": {"text": "steps ahead"}, "tickformat": "d"},
        "yaxis": {"title": {"text": label(f"MAE ({unit})" if unit else "MAE")}, "rangemode": "tozero"},
    }
    return section(f"Error by step{output.of}", chart([View(traces)], alt="MAE by step ahead", layout=layout))


def _curve(name: str, by_step: Mapping[str, Any], color: str) -> Trace:
    order = sorted(by_step, key=int)
    return line([int(step) for step in order], [by_step[step].get("MAE") for step in order], name, color)
