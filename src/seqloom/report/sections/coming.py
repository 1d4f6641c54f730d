"""Coming forecast: the steps after the last observation, with intervals."""

from __future__ import annotations

from seqloom.report.charts import View, chart
from seqloom.report.html import Html, element, note, section, table
from seqloom.report.numbers import number
from seqloom.report.run_files import RunFiles
from seqloom.report.sections.forecast_view import levels, past_of, window_traces

SERIES = 30


def coming(run: RunFiles) -> Html | None:
    """Chart and figures of forecast.csv; says how to make it where it is missing."""
    if run.coming is None:
        if not any(output.kind == "forecast" for output in run.outputs):
            return None
        hint = f"No coming forecast yet: run `seqloom predict {run.path.name} --data PATH -o forecast.csv`."
        return section("Coming forecast", note(hint))
    parts = run.coming.partition_by("unique_id", maintain_order=True)
    views = []
    for part in parts[:SERIES]:
        series, cutoff = part["unique_id"][0], part["cutoff"][0]
        past = past_of(run.history, series, cutoff, max(30, 3 * len(part)))
        views.append(View(window_traces(past, part, {}), group=series))
    picture = chart(views, alt="Forecast of the coming steps with intervals", height=380)
    limit = None if len(parts) <= SERIES else note(f"The first {SERIES} of {len(parts)} series are shown.")
    return section("Coming forecast", picture, _figures(run), limit)


def _figures(run: RunFiles) -> Html | None:
    """The figures themselves, folded away, of the series shown."""
    if run.coming is None:
        return None
    bounds = [f"{side}-{level}" for level in reversed(levels(run.coming.columns)) for side in ("lo", "hi")]
    first = run.coming.head(300)
    rows = [
        [row["unique_id"], row["ds"], number(row["y_hat"]), *(number(row[name]) for name in bounds)]
        for row in first.iter_rows(named=True)
    ]
    title = element("summary", f"Figures ({len(first):,} of {len(run.coming):,} rows of forecast.csv)")
    return element("details", title, table(["series", "time", "forecast", *bounds], rows))
