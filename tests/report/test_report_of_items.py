"""What the report says about lists of items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import polars as pl

from seqloom.report.run_files import Output, RunFiles
from seqloom.report.sections.comparison import compare, headline
from seqloom.report.sections.worst import worst


def metric(value: float) -> dict[str, Any]:
    return {"value": value, "lo": value - 1, "hi": value + 1, "unit": "%", "better": "higher", "receipt": "x"}


SCORES = {
    "metrics": {"Hit@3": metric(30), "MRR@3": metric(20)},
    "rivals": {"markov": {"metrics": {"Hit@3": metric(25)}}, "popularity": {"metrics": {"Hit@3": metric(9)}}},
}
ROWS = pl.DataFrame(
    {
        "id": ["7", "7", "8", "8"],
        "step": [1, 2, 1, 2],
        "y": ["a", "<b>", "007", None],
        "rank": [1.0, 5.0, 2.0, None],
        "y_hat": ["a", "c", "a", "a"],
        "item-1": ["a", "c", "a", "a"],
        "p-1": [0.9, 0.4, 0.8, 0.7],
    }
)


def test_the_hits_of_the_list_decide() -> None:
    output = Output("next", "items", SCORES, ROWS, {})
    found, against = headline(output), compare(output)
    assert found is not None
    assert found[0] == "Hit@3"
    assert against is not None
    assert (against.rival_name, against.certain) == ("markov", True)


def test_the_surest_lists_that_missed_come_first() -> None:
    page = str(worst(cast(RunFiles, None), Output("next", "items", SCORES, ROWS, {})))
    assert page.index("007") < page.index("&lt;b&gt;")
    assert "The 2 surest of 2 answers whose first item did not come next." in page


def test_ids_of_items_are_read_back_as_texts(written_and_read: Callable[[str, pl.DataFrame], Output]) -> None:
    output = written_and_read("next", ROWS)
    assert output.kind == "items"
    assert output.predictions is not None
    assert output.predictions["y"].to_list() == ["a", "<b>", "007", None]
    assert output.predictions["item-1"].to_list() == ROWS["item-1"].to_list()
