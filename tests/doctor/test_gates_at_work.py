"""The viewer's data: an LSTM that learned to count brackets has a unit that counts, and the viewer finds it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from classic_tasks import adding, adding_recipe, copy, copy_recipe
from clinic import admitted

from catalogue import BY_NAME
from flows import daily, forecast_recipe
from seqloom.doctor.at_work import STEPS, UNITS, at_work
from seqloom.doctor.examine import begin, trace_some
from seqloom.doctor.probes import probes
from seqloom.gates import gate_functions
from seqloom.recipe import parse_recipe
from seqloom.report.run_files import read_run
from seqloom.report.sections.gates import gates


def brackets(rows: int = 400) -> pl.DataFrame:
    """Brackets that never close what is not open, and the depth after each."""
    random = np.random.default_rng(0)
    found: list[dict[str, Any]] = []
    for _ in range(rows):
        depth, text, depths = 0, [], []
        for _ in range(20):  # of equal length, which trains fastest
            opens = depth == 0 or (depth < 5 and random.random() < 0.5)
            depth += 1 if opens else -1
            text.append("(" if opens else ")")
            depths.append(str(depth))
        found.append({"bracket": text, "depth": depths})
    return pl.DataFrame(found)


COUNTING = {
    "inputs": {"bracket": {"kind": "category", "role": "past"}},
    "core": {"cell": "lstm", "hidden_size": 8},
    "outputs": {"depth": {"kind": "labels"}},
    "training": {"steps": 150, "batch_size": 32, "lr": 0.03, "validate_every": 50, "warmup_steps": 10, "seed": 1},
}


def test_the_unit_that_counts_is_found(tmp_path: Path) -> None:
    patient = admitted(COUNTING, brackets(), tmp_path)
    traced, places = trace_some(patient)
    document = at_work(patient, traced, places)
    (counts,) = [follower for follower in document["followers"] if follower["follows"] == "answer depth"]
    assert counts["state"] == "c"
    assert abs(counts["correlation"]) > 0.9
    for example in document["examples"]:
        words = example["inputs"][0]["words"]
        depth = np.cumsum([1 if word == "(" else -1 for word in words])
        (layer,) = example["layers"]
        memory = layer["parts"][0]
        assert memory["name"] == "c"
        shown = memory["values"][layer["units"].index(counts["unit"])]
        assert abs(np.corrcoef(depth, shown)[0, 1]) > 0.8
    (tmp_path / "gates.json").write_text(json.dumps(document))
    page = gates(read_run(tmp_path))
    assert page is not None
    assert f"<td>answer depth</td><td>unit {counts['unit']} of layer 1, state c</td>" in page
    assert f'"unit {counts["unit"]}"' in page, "its row of the heat map"
    names = [(part["name"], part["kind"]) for part in layer["parts"]]
    assert names == [
        ("c", "state"),
        ("h", "state"),
        ("i", "sigmoid"),
        ("f", "sigmoid"),
        ("g", "tanh"),
        ("o", "sigmoid"),
    ]
    assert all(0 <= value <= 1 for row in layer["parts"][2]["values"] for value in row)


@pytest.mark.parametrize("name", [name for name in BY_NAME if name.startswith("category-examples-all-")])
def test_every_cell_can_be_looked_at(name: str) -> None:
    """The document is JSON, and holds every gate; a cell without equations shows its states."""
    patient = begin(parse_recipe(BY_NAME[name].recipe()), BY_NAME[name].frame())
    traced, places = trace_some(patient)
    document = at_work(patient, traced, places)
    json.dumps(document, allow_nan=False)
    for example in document["examples"]:
        assert {"x", "pair", "word"} <= {given["name"] for given in example["inputs"]}
        for layer, track in zip(example["layers"], traced.tracks, strict=True):
            gates = [part["name"] for part in layer["parts"] if part["kind"] != "state"]
            assert gates == [name for name in gate_functions(track.cell) if not name.endswith("_next")]
            for part in layer["parts"]:
                assert np.shape(part["values"])[1] == np.shape(layer["parts"][0]["values"])[1] > 0


def test_states_are_those_after_each_step() -> None:
    patient = begin(parse_recipe(adding_recipe({"cell": "gru", "hidden_size": 4}, {})), adding(80, 9))
    traced, places = trace_some(patient)
    (track,) = traced.tracks
    (layer,) = at_work(patient, traced, places)["examples"][0]["layers"]
    outputs = torch.stack(track.outputs)[:, 0].T  # a GRU's output is its state
    shown = dict(zip(layer["units"], layer["parts"][0]["values"], strict=True))
    for unit, row in shown.items():
        np.testing.assert_allclose(row, outputs[unit - 1].detach(), atol=6e-4)


def test_a_large_layer_and_a_long_sequence_are_cut_and_say_where_they_begin() -> None:
    patient = begin(parse_recipe(adding_recipe({"cell": "lstm", "hidden_size": 40}, {})), adding(40, 200))
    (layer,) = at_work(patient, *trace_some(patient))["examples"][0]["layers"]
    assert layer["first"] == 200 - STEPS + 1
    assert len(layer["units"]) == UNITS == len(set(layer["units"]))
    assert np.shape(layer["parts"][0]["values"]) == (UNITS, STEPS)


def test_a_forecast_hides_what_is_to_come() -> None:
    patient = begin(parse_recipe(forecast_recipe()), daily())
    traced, places = trace_some(patient)
    document = at_work(patient, traced, places)
    (past,) = [given for given in document["examples"][0]["inputs"] if given["name"] == "y"]
    assert past["numbers"][-4:] == [None] * 4
    events = [given for given in document["examples"][0]["inputs"] if given["name"] == "event"]
    assert set(events[0]["words"]) <= {"fair", "none", "match", "?"}


def test_probes_are_inputs_running_sums_and_answers() -> None:
    patient = begin(parse_recipe(copy_recipe({"hidden_size": 4}, {})), copy(80, 5, copied=2))
    traced, _ = trace_some(patient)
    found = {probe.name: probe.values for probe in probes(patient.model, traced.batch)}
    blank = found["heard '_'"]
    torch.testing.assert_close(found["running sum of heard '_'"], blank.cumsum(dim=1))
    answer = next(values for name, values in found.items() if name.startswith("answer answer '"))
    assert answer[:, :7].isnan().all()
    assert not answer[:, 7:].isnan().any()
