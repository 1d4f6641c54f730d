"""The heat maps of attention: read tokens across, written ones down, one example for each place of the slider."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from seqloom.report.run_files import read_run
from seqloom.report.sections.attention import attention
from seqloom.report.write import write_report

WEIGHTS = [[0.75, 0.25, 0.0], [0.1, 0.2, 0.7]]


def run(folder: Path, *, inputs: list[dict[str, Any]], factor: int = 1, first: int = 1) -> Path:
    (folder / "predictions").mkdir(parents=True)
    (folder / "predictions" / "reply.csv").write_text("id,y,y_hat,score,greedy\na,b,c,-1.5,d\n")
    shared = {"inputs": inputs, "first": first, "tokens": ["<b>red</b>", "[end]"], "weights": WEIGHTS}
    examples = [{"id": "a", "score": -1.5, **shared}, {"id": "b", "score": -2.25, **shared}]
    found = {"steps_per_core_step": factor, "outputs": {"reply": examples}}
    (folder / "attention.json").write_text(json.dumps(found))
    return folder


def views(folder: Path) -> list[dict[str, Any]]:
    read = read_run(folder)
    page = attention(read, read.outputs[0])
    assert page is not None
    data = re.search(r'<script type="application/json">(.*?)</script>', page)
    assert data
    found: list[dict[str, Any]] = json.loads(data[1])["views"]
    return found


def test_read_tokens_stand_across_and_written_ones_down(tmp_path: Path) -> None:
    found = views(
        run(tmp_path, inputs=[{"name": "age", "numbers": [1, 2, 3]}, {"name": "x", "words": ["a", "b", "b"]}])
    )
    assert [view["label"] for view in found] == ["example b, score -2.25", "example a, score -1.50"]
    (heat,) = found[0]["traces"]
    layout = found[0]["layout"]
    assert heat["z"] == WEIGHTS
    assert (heat["zmin"], heat["zmax"]) == (0, 1)
    assert layout["xaxis"]["ticktext"] == ["a", "b", "b"]
    assert layout["yaxis"]["ticktext"] == ["&lt;b&gt;red&lt;/b&gt;", "[end]"]
    assert layout["yaxis"]["autorange"] == "reversed"
    assert heat["text"][1][0] == "[end] ← a"


def test_a_column_of_a_shortened_sequence_has_all_its_words(tmp_path: Path) -> None:
    words = [{"name": "x", "words": ["a", "b", "c", "d", "e"]}]
    assert views(run(tmp_path, inputs=words, factor=2))[0]["layout"]["xaxis"]["ticktext"] == ["a b", "c d", "e"]


def test_steps_of_numbers_are_counted(tmp_path: Path) -> None:
    folder = run(tmp_path, inputs=[{"name": "x", "numbers": [1, 2, 3]}], first=8)
    assert views(folder)[0]["layout"]["xaxis"]["ticktext"] == ["8", "9", "10"]


def test_the_page_shows_them(tmp_path: Path) -> None:
    page = write_report(run(tmp_path, inputs=[{"name": "x", "words": ["<script>", "b", "c"]}])).read_text()
    assert "<h2>Attention</h2>" in page
    assert '"<script>' not in page


@pytest.mark.parametrize("content", [None, '{"steps_per_core_step": 1, "outputs": {}}', '{"outputs": {"reply": []}}'])
def test_without_maps_nothing_is_said(content: str | None, tmp_path: Path) -> None:
    folder = run(tmp_path, inputs=[])
    (folder / "attention.json").unlink()
    if content is not None:
        (folder / "attention.json").write_text(content)
    read = read_run(folder)
    assert attention(read, read.outputs[0]) is None
