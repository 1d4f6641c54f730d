"""Confusion: which label was taken for which, and which tags were missed or wrongly given."""

from __future__ import annotations

from collections.abc import Mapping

from seqloom.report.charts import View, chart, label
from seqloom.report.html import Html, note, section, table
from seqloom.report.numbers import number
from seqloom.report.run_files import Output

SHOWN = 25


def confusion(output: Output) -> Html | None:
    """Heat map of the most frequent true labels, a table for tags; nothing for outputs without classes."""
    if output.scores.get("labels"):
        return _tags(output, output.scores["labels"])
    found = output.scores.get("confusion")
    if not found or not found.get("labels"):
        return None
    labels, counts = found["labels"], found["counts"]
    frequent = sorted(range(len(labels)), key=lambda place: -sum(counts[place]))[:SHOWN]
    keep = sorted(frequent)
    cells = [[counts[row][column] for column in keep] for row in keep]
    shares = [[100 * counts[row][column] / max(sum(counts[row]), 1) for column in keep] for row in keep]
    names = [label(labels[place]) for place in keep]
    heat = {
        "type": "heatmap",
        "x": names,
        "y": names,
        "z": shares,
        "zmin": 0,
        "zmax": 100,
        "text": cells,
        "texttemplate": "%{text}" if len(keep) <= 12 else "",
        "hovertemplate": "truth %{y}<br>answer %{x}<br>%{text} examples, %{z:.1f} % of the row<extra></extra>",
        "colorscale": [[0, "var(--panel)"], [1, "var(--model)"]],
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
    }
    layout = {
        "xaxis": {"title": {"text": "answer"}, "type": "category", "showgrid": False},
        "yaxis": {"title": {"text": "truth"}, "type": "category", "autorange": "reversed", "showgrid": False},
    }
    picture = chart(
        [View([heat])], alt="Confusion matrix", layout=layout, height=min(620, 200 + 40 * len(keep)), square=True
    )
    limit = f"Rows are the truth, colour is the share of a row; {len(keep)} of {len(labels)} labels shown."
    return section(f"Confusion{output.of}", picture, note(limit))


def _tags(output: Output, counts: Mapping[str, Mapping[str, int]]) -> Html:
    """How often each tag was right, missed, and given where it does not belong."""
    frequent = sorted(counts.items(), key=lambda entry: -entry[1]["true"])[:SHOWN]
    rows = [
        [
            tag,
            c["true"],
            c["both"],
            c["true"] - c["both"],
            c["answered"] - c["both"],
            _share(c, "answered"),
            _share(c, "true"),
        ]
        for tag, c in frequent
    ]
    head = ["tag", "true", "found", "missed", "wrongly given", "precision (%)", "recall (%)"]
    limit = note(f"The {len(rows)} most frequent of {len(counts)} tags.")
    return section(f"Confusion{output.of}", table(head, rows), limit)


def _share(counts: Mapping[str, int], of: str) -> str:
    return number(100 * counts["both"] / counts[of]) if counts[of] else "–"
