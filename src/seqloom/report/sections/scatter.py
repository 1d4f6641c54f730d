"""Predicted against true numbers."""

from __future__ import annotations

from seqloom.report.charts import INK, MODEL, View, chart, label
from seqloom.report.html import Html, note, section
from seqloom.report.run_files import Output

SHOWN = 3000


def scatter(output: Output) -> Html | None:
    """One dot per example; nothing for outputs that are not numbers."""
    if output.kind != "number" or output.predictions is None:
        return None
    known = output.predictions.drop_nulls(["y", "y_hat"])
    shown = known.gather_every(max(1, -(-len(known) // SHOWN)))
    if shown.is_empty():
        return None
    x, y = shown["y"].to_list(), shown["y_hat"].to_list()
    ends = [min(x + y), max(x + y)]
    dots = {
        "type": "scatter",
        "mode": "markers",
        "name": "example",
        "x": x,
        "y": y,
        "text": [label(name) for name in shown["id"]] if "id" in shown.columns else None,
        "marker": {"color": MODEL, "size": 7, "opacity": 0.55},
    }
    dashed = {"color": INK, "dash": "dash", "width": 1.5}
    ideal = {"type": "scatter", "mode": "lines", "name": "ideal", "x": ends, "y": ends, "line": dashed}
    layout = {"xaxis": {"title": {"text": "truth"}}, "yaxis": {"title": {"text": "prediction"}}}
    picture = chart([View([dots, ideal])], alt="Predicted against true numbers", layout=layout, height=420, square=True)
    return section(f"Predictions{output.of}", picture, note(f"{len(shown):,} of {len(known):,} examples shown."))
