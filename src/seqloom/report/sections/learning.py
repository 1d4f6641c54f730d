"""Learning curves: loss, validation metrics and learning rate over optimiser steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from seqloom.report.charts import ACCENT, INK, MODEL, View, chart, label, line
from seqloom.report.html import Html, element, note, section
from seqloom.report.run_files import RunFiles

POINTS = 1000

Rows = Sequence[Mapping[str, Any]]
Row = TypeVar("Row")


def learning(run: RunFiles) -> Html:
    """Up to one chart each for the losses, each validation metric and the learning rate."""
    if not run.log:
        return section("Learning curves", note("No training log yet: run `seqloom train`."))
    training = [row for row in run.log if row.get("loss") is not None]
    checks = [row for row in run.log if isinstance(row.get("valid"), Mapping)]
    charts = [_losses(training, checks)]
    names = sorted({name for row in checks for name in row["valid"]} - {"loss"})
    charts += [_small(f"validation {name}", _points(checks, ("valid", name)), ACCENT) for name in names[:3]]
    if any("lr" in row for row in training):
        charts.append(_small("learning rate", _points(training, ("lr",)), INK))
    fewer = note(f"Thinned to about {POINTS} of {len(training)} points.") if len(training) > POINTS else None
    return section("Learning curves", element("div", *charts, class_="grid"), fewer)


def _losses(training: Rows, checks: Rows) -> Html:
    trace = {**line(*_points(training, ("loss",)), "training", MODEL), "mode": "lines"}
    traces = [trace, line(*_points(checks, ("valid", "loss")), "validation", ACCENT)]
    return chart([View(traces)], alt="Training and validation loss", layout=_axes("loss"), height=280)


def _small(name: str, points: tuple[list[Any], list[Any]], color: str) -> Html:
    layout = {**_axes(name), "showlegend": False}
    layout["yaxis"]["rangemode"] = "tozero"
    trace = {**line(*points, name, color), "mode": "lines" if len(points[0]) > 1 else "markers"}
    return chart([View([trace])], alt=name, layout=layout, height=280)


def _axes(name: str) -> dict[str, Any]:
    return {"xaxis": {"title": {"text": "step"}}, "yaxis": {"title": {"text": label(name)}}}


def _points(rows: Rows, path: tuple[str, ...]) -> tuple[list[Any], list[Any]]:
    """Steps and values at a path of each row, thinned evenly; non-finite values become gaps."""
    x, y = [], []
    for row in thinned(rows):
        value: Any = row
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        x.append(row.get("step"))
        y.append(value if isinstance(value, int | float) and abs(value) < float("inf") else None)
    return x, y


def thinned(rows: Sequence[Row]) -> list[Row]:
    """About `POINTS` rows at even distances, the last one included."""
    stride = -(-len(rows) // POINTS) or 1
    return [*rows[:-1:stride], *rows[-1:]]
