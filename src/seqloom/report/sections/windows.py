"""Test forecasts against the truth, window by window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from seqloom.report.charts import View, chart
from seqloom.report.html import Html, note, section
from seqloom.report.run_files import Output, RunFiles
from seqloom.report.sections.forecast_view import past_of, window_traces

if TYPE_CHECKING:
    import polars as pl

SERIES, WINDOWS = 12, 24
NEEDED = {"unique_id", "ds", "cutoff", "y_hat"}


def windows(run: RunFiles, output: Output) -> Html | None:
    """A slider over the test windows of each series."""
    if output.kind != "forecast":
        return None
    title = f"Test forecasts{output.of}"
    if output.predictions is None or not set(output.predictions.columns) >= NEEDED:
        hint = f"No test forecasts yet: run `seqloom evaluate {run.path.name} --data PATH`."
        return section(title, note(hint))
    parts = output.predictions.partition_by("unique_id", maintain_order=True)
    views = [view for part in parts[:SERIES] for view in _views(run, output, part)]
    limit = (
        f"Shown: up to {WINDOWS} evenly spaced windows of the first {min(SERIES, len(parts))} of {len(parts)} "
        "series. Move the slider to change the window."
    )
    return section(title, chart(views, alt="Test forecasts and truth", height=380), note(limit))


def window_view(run: RunFiles, output: Output, series: str, cutoff: str, group: str, label: str = "") -> View:
    """One window of an output with its past and its rivals."""
    import polars as pl

    here = (pl.col("unique_id") == series) & (pl.col("cutoff") == cutoff)
    if output.predictions is None:
        return View([])
    window = output.predictions.filter(here)
    rivals = {name: frame.filter(here) for name, frame in output.rivals.items()}
    past = past_of(run.history, series, cutoff, max(14, 2 * len(window)))
    return View(window_traces(past, window, rivals), group, label)


def _views(run: RunFiles, output: Output, part: pl.DataFrame) -> Iterator[View]:
    cutoffs = sorted(part["cutoff"].unique().to_list())
    count = min(WINDOWS, len(cutoffs))
    chosen = [cutoffs[-1 - place * len(cutoffs) // count] for place in reversed(range(count))]
    series = part["unique_id"][0]
    for cutoff in chosen:
        yield window_view(run, output, series, cutoff, series, f"after {cutoff}")
