"""The texts of the report: every text of the beam beside the right one, and nothing for other kinds."""

from __future__ import annotations

from pathlib import Path

from seqloom.report.run_files import read_run
from seqloom.report.sections.written import written


def test_all_texts_of_an_example_are_shown(tmp_path: Path) -> None:
    (tmp_path / "predictions").mkdir()
    rows = "".join(f"row {k},right {k},best {k},-1.5,second {k},-2.25,plain {k},asked {k}\n" for k in range(30))
    (tmp_path / "predictions" / "reply.csv").write_text("id,y,y_hat,score,y_hat-2,score-2,greedy,german\n" + rows)
    (tmp_path / "predictions" / "size.csv").write_text("id,y,y_hat\na,1,2\n")
    reply, size = read_run(tmp_path).outputs
    assert reply.kind == "text"
    page = str(written(reply))
    for expected in ("row 0<", "row 29<", "right 29", "best 0", "second 29", "plain 29", "2.25", "asked 29"):
        assert expected in page
    assert page.count("greedy") == 10
    assert written(size) is None
