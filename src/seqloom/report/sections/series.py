"""Error by series, worst first."""

from __future__ import annotations

from seqloom.report.charts import MODEL, View, chart, label
from seqloom.report.html import Html, note, section
from seqloom.report.run_files import Output

SHOWN = 20


def series(output: Output) -> Html | None:
    """Bars of the worst series: by MASE, which compares series of different size, else by MAE."""
    by_series = output.scores.get("series") or {}
    if len(by_series) < 2:
        return None
    metric = "MASE" if any(scores.get("MASE") is not None for scores in by_series.values()) else "MAE"
    known = {name: scores[metric] for name, scores in by_series.items() if scores.get(metric) is not None}
    worst = sorted(known, key=lambda name: known[name], reverse=True)[:SHOWN]
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": [known[name] for name in worst],
        "y": [label(_short(name)) for name in worst],
        "hovertext": [label(name) for name in worst],
        "marker": {"color": MODEL},
    }
    layout = {
        "yaxis": {"autorange": "reversed", "type": "category", "ticksuffix": "  "},
        "xaxis": {"title": {"text": metric}},
        "bargap": 0.35,
        "showlegend": False,
    }
    count = f"The {len(worst)} worst of {len(by_series)} series by {metric}"
    unknown = len(by_series) - len(known)
    left_out = f"; {unknown} have no {metric} (a constant or unobserved series)." if unknown else "."
    picture = chart([View([bars])], alt=f"{metric} by series", layout=layout, height=90 + 24 * len(worst))
    return section(f"Error by series{output.of}", picture, note(count + left_out))


def _short(name: str) -> str:
    """Names that leave room for the bars on a phone."""
    return name if len(name) <= 18 else f"{name[:17]}…"
