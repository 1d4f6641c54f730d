"""Coverage: how often the truth fell inside each interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seqloom.report.charts import INK, MODEL, Trace, View, chart, label, rival_color
from seqloom.report.html import Html, note, section
from seqloom.report.run_files import Output


def coverage(output: Output) -> Html | None:
    """Stated against observed coverage; nothing for outputs without intervals."""
    metrics = output.scores.get("metrics", {})
    names = [name for name in metrics if name.startswith("coverage-")]
    if not names:
        return None
    levels = [f"{name.split('-')[1]} %" for name in names]
    traces = [_dots("model", levels, [metrics[name] for name in names], MODEL)]
    for place, (rival, scores) in enumerate(output.scores.get("rivals", {}).items()):
        found = [scores.get("metrics", {}).get(name, {}) for name in names]
        traces.append(_dots(rival, levels, found, rival_color(place)))
    layout = {
        "xaxis": {"title": {"text": "stated level"}, "type": "category"},
        "yaxis": {"title": {"text": "truth inside (%)"}, "range": [_floor(traces, names), 103]},
        "scattermode": "group",
        "shapes": [_stated(place, float(name.split("-")[1])) for place, name in enumerate(names)],
    }
    picture = chart([View(traces)], alt="Stated and observed coverage of intervals", layout=layout, height=300)
    why = "A dot on its line is ideal; below it the intervals are too narrow, above it too wide."
    return section(f"Coverage{output.of}", picture, note(why))


def _dots(name: str, levels: list[str], metrics: list[Mapping[str, Any]], color: str) -> Trace:
    values = [metric.get("value") for metric in metrics]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": label(name.replace("_", " ")),
        "x": levels,
        "y": values,
        "marker": {"color": color, "size": 11},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [_gap(metric, "hi") for metric in metrics],
            "arrayminus": [_gap(metric, "lo") for metric in metrics],
            "color": color,
        },
    }


def _floor(traces: list[Trace], names: list[str]) -> float:
    """Where the axis starts: below everything shown, so that small differences are seen."""
    shown = [value for trace in traces for value in trace["y"] if value is not None]
    stated = [float(name.split("-")[1]) for name in names]
    return float(max(-3, min([*shown, *stated]) - 15))


def _gap(metric: Mapping[str, Any], side: str) -> float:
    """Distance from the value to one bound, 0 where it is unknown."""
    if metric.get(side) is None or metric.get("value") is None:
        return 0.0
    return abs(float(metric[side]) - float(metric["value"]))


def _stated(place: int, level: float) -> dict[str, Any]:
    """A dashed line at the stated level across one place of the category axis."""
    ends = {"x0": place - 0.45, "x1": place + 0.45, "y0": level, "y1": level}
    return {"type": "line", **ends, "line": {"color": INK, "dash": "dash", "width": 1.5}}
