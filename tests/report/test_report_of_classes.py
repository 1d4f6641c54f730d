"""What the report says about classes, labels, tags, stretches and texts: calibration, confusion, worst answers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import pytest

from seqloom.metrics import score_category
from seqloom.metrics.tags import score_tags
from seqloom.report.run_files import Output, RunFiles, read_run
from seqloom.report.sections.calibration import calibration
from seqloom.report.sections.comparison import headline
from seqloom.report.sections.confusion import confusion
from seqloom.report.sections.worst import worst

NOWHERE = cast(RunFiles, None)


def views(page: object) -> list[dict[str, Any]]:
    data = re.search(r'<script type="application/json">(.*?)</script>', str(page))
    assert data
    found: list[dict[str, Any]] = json.loads(data[1])["views"]
    return found


def read(folder: Path, frame: pl.DataFrame) -> Output:
    """The output as the report reads it back from its file."""
    (folder / "predictions").mkdir()
    frame.write_csv(folder / "predictions" / "answer.csv")
    return read_run(folder).outputs[0]


def test_the_diagram_has_model_rivals_counts_and_the_error() -> None:
    chances = np.array([[0.9, 0.1]] * 9 + [[0.6, 0.4]])
    scored = score_category(["a"] * 6 + ["b"] * 4, ["a"] * 10, labels=["a", "b"], probabilities=chances).to_json()
    page = calibration(Output("mood", "category", {**scored, "rivals": {"majority": scored}}, None, {}))
    assert page is not None
    (view,) = views(page)
    ideal, model, rival, counts = view["traces"]
    assert ideal["x"] == ideal["y"] == [0, 1]
    assert model["x"] == rival["x"] == [pytest.approx(0.6), pytest.approx(0.9)]
    assert model["y"] == [0.0, pytest.approx(6 / 9)]
    assert counts["y"] == [1, 9]
    assert "Expected calibration error: 27.0 %." in page


def test_without_probabilities_there_is_no_diagram() -> None:
    assert calibration(Output("size", "number", {"metrics": {}}, None, {})) is None


def test_tags_are_counted_one_by_one() -> None:
    y, y_hat = [["<a>", "b"], ["<a>"], ["b"]], [["<a>"], ["<a>", "b"], []]
    scored = score_tags(y, y_hat, labels=["<a>", "b"], probabilities=np.ones((3, 2)) / 2).to_json()
    page = str(confusion(Output("topics", "tags", scored, None, {})))
    cells = re.findall(r"<td>(.*?)</td>", page)
    assert cells == ["&lt;a&gt;", "2", "2", "0", "0", "100", "100", "b", "2", "0", "2", "1", "0", "0"]


def test_the_texts_are_read_back_from_the_file(tmp_path: Path) -> None:
    frame = pl.DataFrame({"id": ["7"], "y": ["1"], "y_hat": ["2"], "p-1": [0.2], "p-2": [0.8], "review": ["so dull"]})
    page = str(worst(NOWHERE, read(tmp_path, frame)))
    assert "so dull" in page
    assert "<td>0.800</td>" in page


def test_the_worst_steps_say_where_they_are(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "id": ["s"] * 4,
            "step": [1, 2, 3, 4],
            "y": ["a", "b", None, "b"],
            "y_hat": ["b", "a", "a", "b"],
            "p-a": [0.4, 0.9, 1.0, 0.1],
            "p-b": [0.6, 0.1, 0.0, 0.9],
        }
    )
    output = Output("phase", "labels", {}, read(tmp_path, frame).predictions, {})
    page = str(worst(NOWHERE, output))
    assert re.findall(r"<td>(.*?)</td>", page) == ["s", "2", "b", "a", "0.900", "s", "1", "a", "b", "0.600"]


def test_wrong_tags_are_ordered_by_the_chance_of_the_whole_answer(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "id": ["x", "y", "z"],
            "y": ["a;b", "a", "b"],
            "y_hat": ["a", "b", "b"],
            "p-a": [0.9, 0.2, 0.1],
            "p-b": [0.4, 0.9, 0.9],
        }
    )
    page = str(worst(NOWHERE, Output("topics", "tags", {}, read(tmp_path, frame).predictions, {})))
    cells = re.findall(r"<td>(.*?)</td>", page)
    assert cells[::4] == ["y", "x"]
    assert cells[3::4] == ["0.720", "0.540"]


def test_of_several_right_stretches_any_will_do(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "id": ["a", "b", "c"],
            "y": ["one", "one", None],
            "y-2": ["two", "two", None],
            "y_hat": ["two", "three", None],
            "p": [0.9, 0.5, 0.4],
            "start": [0, 0, 0],
            "end": [3, 5, 0],
            "start_byte": [0, 0, 0],
            "end_byte": [3, 5, 0],
            "paragraph": ["t", "u", "v"],
        }
    )
    output = read(tmp_path, frame)
    assert output.kind == "span"
    cells = re.findall(r"<td>(.*?)</td>", str(worst(NOWHERE, output)))
    assert cells == ["b", "u", "one", "three", "0.500"]


def test_the_texts_least_like_the_right_ones_come_first(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "id": ["a", "b", "c"],
            "y": ["a red house", "a red house", None],
            "y_hat": ["a red house", "blue", "x"],
            "score": [-1.0, -3.0, -2.0],
            "greedy": ["q", "q", "q"],
            "german": ["rot", "blau", "?"],
        }
    )
    cells = re.findall(r"<td>(.*?)</td>", str(worst(NOWHERE, read(tmp_path, frame))))
    assert cells[:4] == ["b", "blau", "a red house", "blue"]
    assert len(cells) == 6, "the other two are right, or not known to be wrong"


@pytest.mark.parametrize(("kind", "name"), [("text", "BLEU"), ("span", "F1"), ("tags", "F1"), ("labels", "accuracy")])
def test_every_kind_has_a_headline(kind: str, name: str) -> None:
    scores = {"metrics": {"first": {"value": 1}, name: {"value": 2}}}
    assert headline(Output("x", kind, scores, None, {})) == (name, {"value": 2})
