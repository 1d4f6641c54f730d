"""The ledger keeps what was found and says where it stands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seqloom.data.ledger import Ledger
from seqloom.errors import PreflightError


def test_rows_are_named_with_their_line(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text('a,b\n"x\ny",1\n\nz,2\n')
    ledger = Ledger(file)
    assert ledger.at(1) == "row 1 (line 2 of t.csv)"
    assert ledger.at(2) == "row 2 (line 5 of t.csv)"
    assert Ledger().at(2) == "row 2"
    assert Ledger().at_rows(range(1, 7)) == "row 1, row 2, row 3, row 4 and 2 more"


def test_errors_are_raised_together_and_the_rest_is_not() -> None:
    ledger = Ledger()
    ledger.add("warning", "gap", "a gap")
    ledger.add("note", "unsorted", "sorted")
    ledger.raise_if_errors()
    for number in range(22):
        ledger.add("error", "bad-number", f"cell {number} is bad", column="y", row=number + 1)
    with pytest.raises(PreflightError) as caught:
        ledger.raise_if_errors()
    text = str(caught.value)
    assert text.startswith("22 problems stop training:\n  1. cell 0 is bad\n")
    assert text.endswith("20. cell 19 is bad\n  ... and 2 more")
    assert "a gap" not in text


def test_text_and_json() -> None:
    ledger = Ledger()
    ledger.add("note", "n", "third")
    ledger.add("warning", "w", "second", series="s", date="2020-01-01", count=3)
    ledger.add("error", "e", "first", row=7)
    assert ledger.to_text(2) == "error: first\nwarning: second\n... and 1 more"
    assert [(p.code, len(ledger.errors)) for p in ledger.warnings] == [("w", 1)]
    assert json.loads(ledger.to_json())[1] == {
        "severity": "warning", "code": "w", "message": "second", "column": None, "series": "s",
        "row": None, "date": "2020-01-01", "count": 3,
    }  # fmt: skip
