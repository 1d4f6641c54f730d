"""Calibration: whether what was answered with some probability held as often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seqloom.report.charts import INK, MODEL, Trace, View, chart, line, rival_color
from seqloom.report.html import Html, note, section
from seqloom.report.numbers import number
from seqloom.report.run_files import Output

SAID = {
    "tags": "each tag of each example by itself",
    "liked": "that an item is liked",
    "items": "the true item is in the list, ten equally large groups",
}

Curve = Sequence[Mapping[str, Any]]


def calibration(output: Output) -> Html | None:
    """The reliability diagram with its counts; nothing for outputs without probabilities."""
    curve: Curve = output.scores.get("reliability", [])
    if not curve:
        return None
    traces = [_ideal(), _curve("model", curve, MODEL)]
    for place, (rival, scores) in enumerate(output.scores.get("rivals", {}).items()):
        if scores.get("reliability"):
            traces.append(_curve(rival, scores["reliability"], rival_color(place)))
    layout = {
        "xaxis": {"title": {"text": "stated probability"}, "range": [-0.02, 1.02]},
        "yaxis": {"title": {"text": "share that held"}, "range": [-0.02, 1.02], "domain": [0.3, 1]},
        "yaxis2": {"title": {"text": "answers"}, "domain": [0, 0.2], "rangemode": "tozero"},
    }
    picture = chart(
        [View([*traces, _counts(curve)])], alt="Reliability diagram with counts", layout=layout, height=460, square=True
    )
    said = f"A point is a bin of stated probabilities ({SAID.get(output.kind, 'the largest of each answer')}): "
    why = "on the dashed line what was said held as often; below it the model is too sure. Bars: how many of the model."
    return section(f"Calibration{output.of}", picture, note(said + why + _error(output)))


def _error(output: Output) -> str:
    """The expected calibration error in words."""
    for name, metric in output.scores.get("metrics", {}).items():
        if (name == "calibration-error" or name.startswith("ECE@")) and metric["value"] is not None:
            return f" Expected calibration error: {number(metric['value'])} %."
    return ""


def _ideal() -> Trace:
    drawn = line([0, 1], [0, 1], "ideal", INK, dash="dash")
    return {**drawn, "mode": "lines", "hoverinfo": "skip"}


def _curve(name: str, curve: Curve, color: str) -> Trace:
    drawn = line([row["stated"] for row in curve], [row["held"] for row in curve], name, color)
    text = [f"{row['count']:,} answers" for row in curve]
    return {**drawn, "text": text, "hovertemplate": "stated %{x:.3f}, held %{y:.3f}<br>%{text}"}


def _counts(curve: Curve) -> Trace:
    return {
        "type": "bar",
        "name": "how many",
        "x": [row["stated"] for row in curve],
        "y": [row["count"] for row in curve],
        "width": 0.03,
        "marker": {"color": MODEL},
        "yaxis": "y2",
        "showlegend": False,
        "hovertemplate": "stated %{x:.3f}: %{y:,} answers<extra></extra>",
    }
