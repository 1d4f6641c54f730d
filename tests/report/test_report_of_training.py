"""What the doctor left in a run, as the report shows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seqloom.report import write_report
from seqloom.report.run_files import read_run
from seqloom.report.sections.doctor import doctor
from seqloom.report.sections.gates import gates

HOSTILE = "<script>alert(1)</script>"
LAYER = {
    "name": "layer 1",
    "units": [3, 1],
    "first": 5,
    "parts": [
        {"name": "c", "kind": "state", "values": [[0.5, -2.0, 1.0], [0.0, 0.1, 0.2]]},
        {"name": "f", "kind": "sigmoid", "values": [[0.0, 0.5, 1.0], [1.0, 1.0, 1.0]]},
    ],
}
GATES: dict[str, Any] = {
    "examples": [
        {"id": "a", "inputs": [{"name": "x", "numbers": [1.0, None, 3.0]}], "layers": [LAYER]},
        {"id": HOSTILE, "inputs": [{"name": HOSTILE, "words": ["(", HOSTILE, ")"]}], "layers": [LAYER]},
    ],
    "steps_per_core_step": 1,
    "followers": [{"layer": "layer 1", "state": "c", "unit": 3, "follows": "answer depth", "correlation": 0.97}],
}
DOCTOR: dict[str, Any] = {
    "diagnoses": [
        {
            "name": "vanishing gradients",
            "evidence": "1e-05 is left",
            "edits": [{"key": "core.cell", "value": "lstm", "reason": "its memory is kept by a gate"}],
        }
    ],
    "layers": [{"name": "layer 1", "gradient_by_lag": [1.0, 0.1, 0.0, None]}],
    "reach": {"steps": 40, "explained": {"32": 0.9}, "reason": ""},
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "gates.json").write_text(json.dumps(GATES))
    (tmp_path / "doctor.json").write_text(json.dumps(DOCTOR))
    return tmp_path


def views(section: str) -> list[dict[str, Any]]:
    start = section.index('type="application/json">') + len('type="application/json">')
    found: list[dict[str, Any]] = json.loads(section[start : section.index("</script>", start)])["views"]
    return found


def test_each_part_is_a_choice_and_each_example_a_place_of_the_slider(run: Path) -> None:
    section = gates(read_run(run))
    assert section is not None
    found = views(section)
    groups = ["layer 1, state c"] * 2 + ["layer 1, gate f (sigmoid)"] * 2
    assert [view["group"] for view in found] == groups
    assert found[1]["label"] == "example a", "the slider begins at its right end, with the first example"
    heat, numbers = found[1]["traces"]
    assert (heat["zmin"], heat["zmax"], heat["z"]) == (-2.0, 2.0, LAYER["parts"][0]["values"])  # type: ignore[index]
    assert (heat["x"], heat["y"]) == ([5, 6, 7], ["unit 3", "unit 1"])
    assert (numbers["x"], numbers["y"], numbers["yaxis"]) == ([5, 6, 7], [1.0, None, 3.0], "y2")
    assert (found[3]["traces"][0]["zmin"], found[3]["traces"][0]["zmax"]) == (0, 1)
    words = found[0]["traces"][1]
    assert words["text"] == ["(", "&lt;script&gt;alert(1)&lt;/script&gt;", ")"]
    assert "unit 3 of layer 1, state c</td><td>0.970" in section


def test_a_shortened_sequence_stands_over_the_steps_it_became(run: Path) -> None:
    layer = {**LAYER, "first": 1}
    example = {"id": "a", "inputs": [{"name": "x", "numbers": list(range(12))}], "layers": [layer]}
    (run / "gates.json").write_text(json.dumps({**GATES, "examples": [example], "steps_per_core_step": 4}))
    section = gates(read_run(run))
    assert section is not None
    x = views(section)[0]["traces"][1]["x"]
    assert sum(x[:4]) / 4 == 1.0
    assert sum(x[8:]) / 4 == 3.0


def test_the_diagnosis_stands_with_its_treatment_and_the_curve(run: Path) -> None:
    section = doctor(read_run(run))
    assert section is not None
    assert "<strong>Vanishing gradients</strong>: 1e-05 is left." in section
    assert "<code>core.cell=lstm</code>" in section
    assert views(section)[0]["traces"][0]["y"] == [1.0, 0.1, None, None]
    assert "inputs matter up to 40 steps back" in section


def test_a_healthy_run_is_said_to_be(run: Path) -> None:
    (run / "doctor.json").write_text(json.dumps({**DOCTOR, "diagnoses": []}))
    section = doctor(read_run(run))
    assert section is not None
    assert "Healthy: nothing to change." in section


def looks(run: Path, *diagnoses: list[dict[str, Any]]) -> None:
    """A log of a step and of looks at steps 10, 20, ..."""
    lines: list[dict[str, Any]] = [{"step": 10, "loss": 1.0, "norm": 1.0}]
    lines += [{"step": 10 * k, "epoch": 0.1, "doctor": found} for k, found in enumerate(diagnoses, start=1)]
    (run / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_the_rounds_stand_in_the_report_with_the_steps_at_which_a_disease_was_there(tmp_path: Path) -> None:
    early = {"name": "dead units", "evidence": HOSTILE, "edits": []}
    (late,) = DOCTOR["diagnoses"]
    looks(tmp_path, [early], [late], [{**late, "evidence": "newer"}], [])
    section = doctor(read_run(tmp_path))
    assert section is not None
    assert "Looks while training: 4, the last after step 40." in section
    assert "<td>dead units</td><td>10</td>" in section
    assert "<td>vanishing gradients</td><td>20 to 30, 2 of 4 looks</td><td><span>newer.<code> core.cell=lstm" in section
    assert HOSTILE not in section
    looks(tmp_path, [], [])
    assert "Looks while training: 2, the last after step 20. Nothing was found." in (doctor(read_run(tmp_path)) or "")


def test_nothing_hostile_survives(run: Path) -> None:
    assert HOSTILE not in write_report(run).read_text()


def test_without_the_doctor_nothing_is_shown(tmp_path: Path) -> None:
    assert gates(read_run(tmp_path)) is None
    assert doctor(read_run(tmp_path)) is None
