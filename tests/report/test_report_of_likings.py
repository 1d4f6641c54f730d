"""What the report says about items that are liked or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import polars as pl

from seqloom.report.run_files import Output, RunFiles
from seqloom.report.sections.calibration import calibration
from seqloom.report.sections.comparison import compare
from seqloom.report.sections.worst import worst


def metric(value: float, better: str = "higher") -> dict[str, Any]:
    return {"value": value, "lo": value - 0.01, "hi": value + 0.01, "unit": "", "better": better, "receipt": "x"}


SCORES = {
    "metrics": {"AUC": metric(0.8), "log-loss": metric(0.5, "lower")},
    "rivals": {"item mean": {"metrics": {"AUC": metric(0.7)}}, "share": {"metrics": {"AUC": metric(0.5)}}},
    "reliability": [{"stated": 0.7, "held": 0.6, "count": 3}],
}
ROWS = pl.DataFrame(
    {
        "id": ["7", "7", "8", "8"],
        "step": [1, 2, 1, 2],
        "item": ["007", "<b>", "c", "d"],
        "y": ["liked", "not liked", "liked", None],
        "y_hat": ["not liked", "liked", "liked", "liked"],
        "p-liked": [0.1, 0.7, 0.8, 0.99],
    }
)


def test_the_auc_decides() -> None:
    found = compare(Output("liked", "liked", SCORES, ROWS, {}))
    assert found is not None
    assert (found.metric, found.rival_name, found.certain) == ("AUC", "item mean", True)


def test_the_surest_wrong_answers_come_first_with_their_items() -> None:
    page = str(worst(cast(RunFiles, None), Output("liked", "liked", SCORES, ROWS, {})))
    assert page.index("007") < page.index("&lt;b&gt;")
    assert "The 2 surest of 2 wrong answers, of 3 in all." in page
    assert "0.9" in page[page.index("007") : page.index("&lt;b&gt;")], "how sure it was that it is not liked"


def test_the_diagram_says_what_was_stated() -> None:
    assert "A point is a bin of stated probabilities (that an item is liked)" in str(
        calibration(Output("liked", "liked", SCORES, ROWS, {}))
    )


def test_items_are_read_back_as_texts(written_and_read: Callable[[str, pl.DataFrame], Output]) -> None:
    output = written_and_read("liked", ROWS)
    assert output.kind == "liked"
    assert output.predictions is not None
    assert output.predictions["item"].to_list() == ROWS["item"].to_list()
    assert output.predictions["p-liked"].dtype == pl.Float64
