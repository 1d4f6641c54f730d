"""Nothing that the package offers is missing from the catalogue."""

from __future__ import annotations

import pytest

import catalogue
from catalogue import CASES, INPUTS, OUTPUTS, missing_entries


def test_every_kind_has_an_entry() -> None:
    assert missing_entries() == []


def test_a_kind_without_an_entry_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "CELLS", tuple(cell for cell in catalogue.CELLS if cell != "lstm"))
    monkeypatch.delitem(INPUTS, "vector")
    monkeypatch.delitem(OUTPUTS, "labels")
    assert missing_entries() == ["cells: lstm", "inputs: vector", "outputs: labels"]


def test_every_cell_and_kind_stands_in_some_case() -> None:
    cells = {case.core["cell"] for case in CASES}
    inputs = {entry["kind"] for case in CASES for entry in case.inputs.values()}
    outputs = {entry["kind"] for case in CASES for entry in case.outputs.values()}
    assert cells == set(catalogue.CELLS)
    assert inputs == set(INPUTS)
    assert outputs == set(OUTPUTS)
