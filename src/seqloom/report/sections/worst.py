"""Worst cases: where the model was most wrong."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seqloom.metrics.text import sentence_chrf
from seqloom.report.charts import chart
from seqloom.report.html import Html, note, section, table
from seqloom.report.numbers import number
from seqloom.report.run_files import NUMBERS, Output, RunFiles
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
    find = {
        "forecast": _windows,
        "category": _examples,
        "labels": _examples,
        "tags": _tags,
        "span": _spans,
        "text": _texts,
        "number": _numbers,
        "items": _items,
        "liked": _liked,
    }.get(output.kind)
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

    chances = _chances(frame)
    return _surest(frame, pl.max_horizontal(chances) if chances else pl.lit(None, pl.Float64))


def _liked(run: RunFiles, output: Output, frame: pl.DataFrame) -> list[Html]:
    """The probability of an answer is that of being liked, or of not being."""
    import polars as pl

    p = pl.col("p-liked")
    return _surest(frame.drop_nulls("y"), pl.max_horizontal(p, 1 - p))


def _tags(run: RunFiles, output: Output, frame: pl.DataFrame) -> list[Html]:
    """Tags are answered one by one: the probability of an answer is the product of what was said of each."""
    import polars as pl

    each = [pl.max_horizontal(pl.col(name), 1 - pl.col(name)).log() for name in _chances(frame)]
    return _surest(frame, pl.sum_horizontal(each).exp())


def _spans(run: RunFiles, output: Output, frame: pl.DataFrame) -> list[Html]:
    """Of several right answers any will do."""
    import polars as pl

    right = [pl.col(name).eq_missing(pl.col("y_hat")) for name in frame.columns if re.fullmatch(r"y-\d+", name)]
    left = frame.filter(~pl.any_horizontal(right)) if right else frame
    return _surest(left.with_columns(pl.col("y_hat").fill_null("(none)")), pl.col("p"))


def _texts(run: RunFiles, output: Output, frame: pl.DataFrame) -> list[Html]:
    import polars as pl

    known = frame.drop_nulls("y").with_columns(pl.col("y_hat").fill_null(""))
    scored = known.with_columns(pl.Series("chrF", sentence_chrf(known["y"].to_list(), known["y_hat"].to_list())))
    wrong = scored.filter(pl.col("y") != pl.col("y_hat"))
    ranked = wrong.sort("chrF", maintain_order=True).head(SHOWN)
    texts = texts_read(frame)
    rows = [
        [
            row.get("id"),
            *(row[text] for text in texts),
            row["y"],
            row["y_hat"],
            number(row["score"]),
            number(row["chrF"]),
        ]
        for row in ranked.iter_rows(named=True)
    ]
    head = ["example", *texts, "right", "written", "score", "chrF of this text (%)"]
    count = (
        f"The {len(rows)} of {len(wrong):,} other texts that are least like the right ones, of {len(known):,} in all."
    )
    return [table(head, rows), note(count)] if rows else [note("Every text is the right one.")]


def _surest(frame: pl.DataFrame, sure: pl.Expr) -> list[Html]:
    """The wrong answers with the largest probability, which the expression `sure` gives."""
    import polars as pl

    wrong = frame.filter(pl.col("y").cast(pl.String) != pl.col("y_hat").cast(pl.String))
    if wrong.is_empty():
        return [note("No example was answered wrongly.")]
    ranked = wrong.with_columns(sure.alias("sure")).sort("sure", descending=True, nulls_last=True).head(SHOWN)
    texts = texts_read(frame)
    steps = [column for column in frame.columns if column == "step"]
    rows = [
        [
            row.get("id"),
            *(f"{row[step]:.0f}" for step in steps),
            *(row[text] for text in texts),
            row["y"],
            row["y_hat"],
            number(row["sure"]),
        ]
        for row in ranked.iter_rows(named=True)
    ]
    count = f"The {len(rows)} surest of {len(wrong):,} wrong answers, of {len(frame):,} in all."
    return [table(["example", *steps, *texts, "truth", "answer", "probability of the answer"], rows), note(count)]


def _chances(frame: pl.DataFrame) -> list[str]:
    return [column for column in frame.columns if column.startswith("p-")]


def texts_read(frame: pl.DataFrame) -> list[str]:
    """The columns with what was read."""
    return [column for column in frame.columns if not re.fullmatch(rf"id|greedy|y(_hat)?(-\d+)?|{NUMBERS}", column)]


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
