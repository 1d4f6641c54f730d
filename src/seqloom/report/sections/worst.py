"""Worst cases: where the model was most wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqloom.report.charts import chart
from seqloom.report.html import Html, note, section, table
from seqloom.report.numbers import number
from seqloom.report.run_files import Output, RunFiles
from seqloom.report.sections.windows import NEEDED, window_view

if TYPE_CHECKING:
    import polars as pl

SHOWN = 10


def worst(run: RunFiles, output: Output) -> Html | None:
    """The ten worst windows or examples; nothing without predictions."""
    frame = output.predictions
    needed = {"y"} | (NEEDED if output.kind == "forecast" else {"y_hat"})
    if frame is None or not needed <= set(frame.columns):
        return None
    find = {"forecast": _windows, "category": _examples, "number": _numbers, "items": _items}.get(output.kind)
    body = [] if find is None else find(run, output, frame)
    return section(f"Worst cases{output.of}", *body) if body else None


def _windows(run: RunFiles, output: Output, frame: pl.DataFrame) -> list[Html]:
    import polars as pl

    errors = (
        frame.filter(pl.col("y").is_not_null())
        .group_by("unique_id", "cutoff", maintain_order=True)
        .agg((pl.col("y") - pl.col("y_hat")).abs().mean().alias("error"))
        .sort("error", descending=True, maintain_order=True)
        .head(SHOWN)
    )
    views = [
        window_view(run, output, series, cutoff, f"{place}. {series} after {cutoff}: MAE {number(error)}")
        for place, (series, cutoff, error) in enumerate(errors.iter_rows(), start=1)
    ]
    if not views:
        return []
    return [chart(views, alt="Worst test windows", height=380), note(f"The {len(views)} windows with the largest MAE.")]


def _examples(run: RunFiles, output: Output, frame: pl.DataFrame) -> list[Html]:
    import polars as pl

    wrong = frame.filter(pl.col("y").cast(pl.String) != pl.col("y_hat").cast(pl.String))
    if wrong.is_empty():
        return [note("No example was answered wrongly.")]
    chances = [column for column in frame.columns if column.startswith("p-")]
    sure = pl.max_horizontal(chances) if chances else pl.lit(None, pl.Float64)
    ranked = wrong.with_columns(sure.alias("sure")).sort("sure", descending=True, nulls_last=True).head(SHOWN)
    texts = [column for column in frame.columns if column not in {"id", "y", "y_hat", *chances}]
    rows = [
        [row.get("id"), *(row[text] for text in texts), row["y"], row["y_hat"], number(row["sure"])]
        for row in ranked.iter_rows(named=True)
    ]
    count = f"The {len(rows)} surest of {len(wrong):,} wrong answers, of {len(frame):,} in all."
    return [table(["example", *texts, "truth", "answer", "probability of the answer"], rows), note(count)]


def _items(run: RunFiles, output: Output, frame: pl.DataFrame) -> list[Html]:
    import polars as pl

    missed = frame.filter(pl.col("rank").is_not_null(), pl.col("y") != pl.col("y_hat"))
    ranked = missed.sort("p-1", descending=True, maintain_order=True).head(SHOWN)
    rows = [
        [row.get("id"), number(row["step"]), row["y"], number(row["rank"]), row["y_hat"], number(row["p-1"])]
        for row in ranked.iter_rows(named=True)
    ]
    head = ["sequence", "items read", "came next", "its rank", "first of the list", "probability of the first"]
    count = f"The {len(rows)} surest of {len(missed):,} answers whose first item did not come next."
    return [table(head, rows), note(count)] if rows else []


def _numbers(run: RunFiles, output: Output, frame: pl.DataFrame) -> list[Html]:
    import polars as pl

    error = (pl.col("y_hat") - pl.col("y")).alias("error")
    known = frame.with_columns(error).filter(pl.col("error").is_not_null())
    ranked = known.sort(pl.col("error").abs(), descending=True).head(SHOWN)
    rows = [
        [row.get("id"), number(row["y"]), number(row["y_hat"]), number(row["error"])]
        for row in ranked.iter_rows(named=True)
    ]
    return [table(["example", "truth", "answer", "answer − truth"], rows)] if rows else []
