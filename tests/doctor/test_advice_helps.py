"""Applying the advice helps: a small case by default, the classic tests in full with `-m slow`."""

from __future__ import annotations

from pathlib import Path

import pytest
from classic_tasks import adding, adding_recipe
from clinic import admitted, seen

from doctor import before_and_after, tasks
from seqloom.doctor.diseases import merged
from seqloom.doctor.examine import Patient
from seqloom.recipe import override

TRAINING = {"steps": 120, "lr": 0.01, "batch_size": 32, "validate_every": 40, "warmup_steps": 10}


def best(patient: Patient) -> float:
    """The smallest mean absolute error of a validation."""
    return min(float(line["valid"]["MAE"]) for line in patient.log if "valid" in line)


def test_a_longer_memory_learns_to_add(tmp_path: Path) -> None:
    recipe, frame = adding_recipe({"cell": "lstm", "hidden_size": 16}, TRAINING), adding(1500, 40)
    before = admitted(recipe, frame, tmp_path / "before")
    _, found = seen(before)
    assert [diagnosis.name for diagnosis in found] == ["memory too short for the data"]
    for edit in merged(found):
        override(recipe, str(edit))
    after = admitted(recipe, frame, tmp_path / "after")
    assert best(after) < 0.5 * best(before)
    assert seen(after)[1] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", list(tasks()))
def test_the_classic_tests_are_learned_better(name: str, tmp_path: Path) -> None:
    """The intervals of before and after are apart, and what was found is gone."""
    task = tasks()[name]
    found = before_and_after(name, task, tmp_path / "test", seed=0)
    before, after = found["before"][task[3]], found["after"][task[3]]
    assert found["before"]["edits"]
    assert (after["hi"] < before["lo"]) if task[3] == "MAE" else (after["lo"] > before["hi"])
    assert not set(found["before"]["diagnoses"]) & set(found["after"]["diagnoses"])
