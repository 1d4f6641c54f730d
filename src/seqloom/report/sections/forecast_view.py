"""One forecast window as traces: what was known, what was forecast, what came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from seqloom.report.charts import INK, MODEL, Trace, band, line, rival_color

if TYPE_CHECKING:
    import polars as pl


def levels(columns: Sequence[str]) -> list[str]:
    """Interval levels of a forecast table, widest first so that narrower bands are drawn on top."""
    found = [column[3:] for column in columns if column.startswith("lo-") and f"hi-{column[3:]}" in columns]
    return sorted(found, key=float, reverse=True)


def window_traces(past: pl.DataFrame | None, window: pl.DataFrame, rivals: Mapping[str, pl.DataFrame]) -> list[Trace]:
    """Bands, history, truth, model and rivals of one (series, cutoff)."""
    x = window["ds"].to_list()
    traces: list[Trace] = []
    for level in levels(window.columns):
        lo, hi = window[f"lo-{level}"].to_list(), window[f"hi-{level}"].to_list()
        traces += band(x, lo, hi, f"{level} % interval")
    known = ([], []) if past is None else (past["ds"].to_list(), past["y"].to_list())
    truth = window["y"].to_list() if "y" in window.columns else []
    traces.append(line([*known[0], *x[: len(truth)]], [*known[1], *truth], "observed", INK))
    for place, (name, rival) in enumerate(rivals.items()):
        traces.append(line(rival["ds"].to_list(), rival["y_hat"].to_list(), name, rival_color(place), dash="dot"))
    return [*traces, line(x, window["y_hat"].to_list(), "forecast", MODEL)]


def past_of(history: pl.DataFrame | None, series: str, cutoff: str, steps: int) -> pl.DataFrame | None:
    """The last `steps` observed steps of a series up to its cutoff."""
    import polars as pl

    if history is None:
        return None
    return history.filter((pl.col("unique_id") == series) & (pl.col("ds") <= cutoff)).tail(steps)
