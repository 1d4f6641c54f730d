"""Data: the observed series with their gaps, never bridged."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from seqloom.report.charts import INK, View, chart, line
from seqloom.report.html import Html, note, paragraph, section
from seqloom.report.numbers import plural
from seqloom.report.run_files import RunFiles

if TYPE_CHECKING:
    import polars as pl

SERIES, STEPS, GAPS = 30, 730, 200


def data(run: RunFiles) -> Html | None:
    """The last steps of each series; nothing for runs without series."""
    if run.history is None:
        forecasts = any(output.kind == "forecast" for output in run.outputs)
        return section("Data", note("No history.csv was written by this run.")) if forecasts else None
    parts = run.history.partition_by("unique_id", maintain_order=True)
    missing = run.history["y"].null_count()
    total = f"{plural(len(parts), 'series')}, {len(run.history):,} steps, {missing:,} of them missing"
    shown = [part.tail(STEPS) for part in parts[:SERIES]]
    limit = f"Shown: the last {STEPS} steps of the first {len(shown)} of {len(parts)} series; shaded: missing."
    picture = chart(
        [_view(part) for part in shown],
        alt="Observed series over time with gaps",
        layout={"xaxis": {"rangeselector": {"buttons": _ranges(shown[0]["ds"].to_list())}}, "showlegend": False},
        height=360,
    )
    return section("Data", paragraph(f"{total}."), picture, note(limit))


def _view(part: pl.DataFrame) -> View:
    x, y = part["ds"].to_list(), part["y"].to_list()
    trace = line(x, y, "observed", INK)
    shapes = [_gap(x[first], x[last]) for first, last in gaps(y)[-GAPS:]]
    return View([trace], group=part["unique_id"][0], layout={"shapes": shapes})


def gaps(y: list[float | None]) -> list[tuple[int, int]]:
    """Observed neighbours (or ends) of every run of missing values, as positions."""
    found, start = [], None
    for place, value in enumerate([*y, 0.0]):
        if value is None and start is None:
            start = max(place - 1, 0)
        if value is not None and start is not None:
            found.append((start, min(place, len(y) - 1)))
            start = None
    return found


def _gap(start: str, end: str) -> dict[str, Any]:
    return {
        "type": "rect",
        "x0": start,
        "x1": end,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "fillcolor": "var(--gap)",
        "line": {"width": 0},
        "layer": "below",
    }


def _ranges(ds: list[str]) -> list[dict[str, Any]]:
    """Buttons that fit the time span: days for hourly data, months for daily, years for monthly."""
    try:
        span = (datetime.fromisoformat(ds[-1]) - datetime.fromisoformat(ds[0])).days
    except (ValueError, IndexError):
        return []  # the axis is not made of dates
    choices = [(1, "day"), (7, "day"), (1, "month"), (3, "month"), (1, "year"), (5, "year")]
    days = {"day": 1, "month": 30, "year": 365}
    fitting = [(count, unit) for count, unit in choices if span / 25 <= count * days[unit] < span]
    buttons = [
        {"count": count, "step": unit, "stepmode": "backward", "label": f"{count} {unit}{'s' * (count > 1)}"}
        for count, unit in fitting[-3:]
    ]
    return [*buttons, {"step": "all", "label": "all"}]
