"""What is said of a model is what its weights and its forward pass say."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from seqloom.errors import KernelError, UsageError
from seqloom.explain.blank import blank_batch
from seqloom.explain.columns import aligned
from seqloom.explain.model import Explanation, explain_model
from seqloom.kernels import reference
from seqloom.model import SequenceModel
from seqloom.recipe import parse_recipe


def forecaster(*, built: bool = True, **core: Any) -> SequenceModel:
    document = {
        "data": {"time": "ds", "context_length": 28},
        "inputs": {
            "y": {"kind": "series", "scale": "own", "lags": [7]},
            "calendar": {"kind": "calendar"},
            "day": {"kind": "category", "role": "known", "size": 2},
        },
        "core": {"cell": "gru", "hidden_size": 16, "num_layers": 2, **core},
        "outputs": {"y": {"kind": "forecast", "horizon": 7}},
        "training": {"batch_size": 32},
    }
    model = SequenceModel(parse_recipe(document))
    if built:
        days = np.datetime64("2020-01-01", "us") + np.arange(60) * np.timedelta64(1, "D")
        texts = np.array(["a", "b", "c"] * 20, object)
        model.fit({"y": np.arange(60.0), "calendar": days, "day": texts}, {"y": np.arange(60.0)})
        model.build()
    return model


def reader(**core: Any) -> SequenceModel:
    document = {
        "inputs": {
            "channels": {"kind": "series"},
            "age": {"kind": "number"},
            "profile": {"kind": "vector", "size": 5},
        },
        "core": {"cell": "lstm", "hidden_size": 8, **core},
        "outputs": {"word": {"kind": "category", "pooling": ["mean", "last"]}, "tag": {"kind": "labels"}},
    }
    model = SequenceModel(parse_recipe(document))
    columns = {"channels": np.ones((30, 3)), "age": np.arange(4.0), "profile": np.ones((4, 6))}
    model.fit(columns, {"word": np.array(["a", "b", "c"], object), "tag": np.array(["u", "w"] * 15, object)})
    model.build()
    return model


def shapes(explanation: Explanation) -> dict[str, tuple[int, ...]]:
    return {stage.name: stage.shape for stage in explanation.stages}


def test_shapes_of_a_forecaster() -> None:
    assert shapes(explain_model(forecaster(), batch_size=3)) == {
        "input y": (3, 35, 2),  # 28 past and 7 coming steps; the value and its lag
        "input y, encoded": (3, 35, 4),
        "input calendar": (3, 35, 15),
        "input calendar, encoded": (3, 35, 15),
        "input day": (3, 35, 1),
        "input day, encoded": (3, 35, 2),
        "join": (3, 35, 21),
        "core layer 1: GRU": (3, 35, 16),
        "core layer 2: GRU": (3, 35, 16),
        "output y": (3, 7, 1, 5),
    }


def test_shapes_of_a_reader_in_both_directions() -> None:
    found = shapes(explain_model(reader(bidirectional=True), batch_size=2, steps=9))
    assert found["input profile"] == (2, 6)
    assert found["input profile, encoded"] == (2, 5)
    assert found["join"] == (2, 9, 6 + 2 + 5)
    assert found["core layer 1: LSTM in both directions"] == (2, 9, 16)
    assert found["output word"] == (2, 3)
    assert found["output tag"] == (2, 9, 2)


@pytest.mark.parametrize("model", [forecaster(), reader(num_layers=3, bidirectional=True)])
def test_parameters_of_stages_add_up_to_the_model(model: SequenceModel) -> None:
    explanation = explain_model(model)
    total = sum(weight.numel() for weight in model.parameters())
    assert explanation.parameters == total
    assert explanation.to_json()["parameters"] == total
    assert f"{total:,}" in next(line for line in explanation.to_text().splitlines() if line.startswith("  total"))


def test_which_layers_return_sequences() -> None:
    notes = {stage.name: stage.note for stage in explain_model(reader(num_layers=2)).stages}
    assert notes["core layer 1: LSTM"] == "returns sequences: yes, the next layer reads every step"
    assert notes["core layer 2: LSTM"] == (
        "returns sequences: yes, word's pooling (mean, last) keeps one vector; tag reads every step"
    )
    coming = {stage.name: stage.note for stage in explain_model(forecaster()).stages}["core layer 2: GRU"]
    assert coming == "returns sequences: yes, y reads the steps after the origin"


def test_memory_grows_with_the_training_batch_not_with_the_measured_one() -> None:
    few, many = (explain_model(forecaster(), batch_size=rows).memory for rows in (2, 8))
    assert few == pytest.approx(many)
    weights = sum(weight.numel() for weight in forecaster().parameters()) * 4 / 2**20
    assert few["weights"] == few["gradients"] == pytest.approx(weights)
    assert few["two moments of AdamW"] == pytest.approx(2 * weights)
    assert few["total"] == pytest.approx(4 * weights + few["activations"])
    layers = 2 * 35 * 32 * (3 * 16 + 16) * 4 / 2**20  # gates and state of every step
    assert layers < few["activations"] < 2 * layers


@pytest.mark.usefixtures("not_compiled")
def test_kernels_and_why_not_the_others() -> None:
    text = explain_model(forecaster()).to_text()
    assert "core layer 1: GRU: fused\n    not native: the native kernels are not compiled here\n" in text
    assert "    not scan: GRU is not linear in its state" in text
    assert "    not reference: can run too; fused is faster\n" in text
    named = explain_model(forecaster(backend="reference")).to_text()
    assert "core layer 1: GRU: reference\n    not native: core.backend names another\n" in named
    assert "    not fused: core.backend names another\n" in named


@pytest.mark.usefixtures("not_compiled")
def test_refusals_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqloom.cells.gru.GRU.fused", None)
    explanation = explain_model(forecaster())
    assert explanation.stages[-2].kernel is not None
    assert explanation.stages[-2].kernel.kernel is reference
    refusals = "    not fused: torch has no fused function for GRU\n    not scan: GRU is"
    assert refusals in explanation.to_text()
    with pytest.raises(KernelError, match="no fused function for GRU"):
        explain_model(forecaster(backend="fused"))


def test_streaming_and_why() -> None:
    assert explain_model(forecaster()).streaming.startswith("yes: the model is causal, no step reads a later one; 32 ")
    refused = explain_model(reader(bidirectional=True)).streaming
    assert refused.startswith("no: the model reads each sequence backwards too")


FRONT = [
    {"channels": 6, "kernel_size": 5, "stride": 2, "causal": False, "residual": True},
    {"channels": 4, "kernel_size": 3, "stride": 3, "layer_norm": True},
]


def shortened(**core: Any) -> SequenceModel:
    document = {
        "inputs": {"x": {"kind": "series"}},
        "core": {"cell": "gru", "hidden_size": 8, **core},
        "outputs": {"word": {"kind": "category"}},
    }
    model = SequenceModel(parse_recipe(document))
    model.fit({"x": np.ones((30, 1))}, {"word": np.array(["a", "b", "c"], object)})
    model.build()
    return model


def test_a_front_end_stage_by_stage() -> None:
    explanation = explain_model(shortened(front=FRONT), batch_size=3, steps=100)
    stages = {stage.name: stage for stage in explanation.stages}
    assert stages["front layer 1: Conv"].shape == (3, 50, 6)
    assert stages["front layer 1: Conv"].parameters == 6 * 2 * 5 + 6 + 6 * 2
    assert stages["front layer 1: Conv"].note == "each step stands for 2 and reads 5"
    assert stages["front layer 2: Conv"].shape == (3, 17, 4)
    assert stages["front layer 2: Conv"].note == "each step stands for 6 and reads 9"
    assert stages["core layer 1: GRU"].shape == (3, 17, 8)
    assert stages["join"].note == "all inputs side by side at every step: 2 features go into the front end"
    assert explanation.parameters == sum(weight.numel() for weight in shortened(front=FRONT).parameters())


def test_what_a_front_end_reads_and_keeps() -> None:
    explanation = explain_model(shortened(front=FRONT))
    assert explanation.to_json()["front"] == {"receptive_field": 9, "factor": 6, "lookahead": 2, "delay": 7}
    text = explanation.to_text()
    assert "Front end\n  receptive field: 9 steps are read by one step of the core\n  shortening factor: 6; " in text
    assert explanation.streaming == (
        "no: the model looks at later steps in its front end (core.front.0.causal: false), so its answers wait for "
        "later steps; leave that out to stream"
    )
    causal = explain_model(shortened(front=FRONT[1:]))
    # 2 steps of 2 features before the kernel, how long to wait, and the core's 8
    assert causal.streaming.startswith("yes: the model is causal, no step reads a later one; 13 numbers of state")
    assert explain_model(shortened()).front is None
    assert "Front end" not in explain_model(shortened()).to_text()


def test_a_shorter_sequence_keeps_less_for_the_backward_pass() -> None:
    front = [{"channels": 2, "kernel_size": 8, "stride": 8}]
    shorter, whole = (explain_model(shortened(**core)).memory for core in ({"front": front}, {}))
    assert shorter["activations"] < whole["activations"] / 2


def test_sizes_that_came_from_data() -> None:
    assert explain_model(forecaster()).from_data == (
        "input y: numbers in its columns, mean and deviation of each: 1",
        "input day: 3 texts in the training part",
    )
    assert "output word: 3 texts in the training part" in explain_model(reader()).from_data


def test_a_recipe_alone_is_not_enough() -> None:
    with pytest.raises(UsageError, match="not built: vocabularies and scales come from data; fit it"):
        explain_model(forecaster(built=False))


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"steps": 0}])
def test_nothing_to_run(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="expected at least 1 of each"):
        explain_model(forecaster(), **wrong)


@pytest.mark.parametrize("training", [True, False])
def test_model_is_left_as_it_was(training: bool) -> None:
    model = reader().train(training)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    random = torch.get_rng_state()
    explain_model(model)
    assert model.training is training
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(part._forward_hooks for part in model.modules())


def test_json_says_the_same_as_text() -> None:
    explanation = explain_model(reader())
    document = json.loads(json.dumps(explanation.to_json()))
    assert document["topology"]["name"] == "sequence → sequence"
    assert document["measured"] == {"rows": 4, "steps": 50, "horizon": 0}
    assert [stage["name"] for stage in document["stages"]] == [stage.name for stage in explanation.stages]
    assert document["stages"][-1]["shape"] == [4, 50, 2]
    assert document["memory_mib"]["estimate"] is True
    text = explanation.to_text()
    for part in ("Topology: sequence → sequence", "an estimate", "(4, 50, 2)", "lengths travel", document["streaming"]):
        assert part in text


def test_blank_batch_holds_no_observation() -> None:
    batch = blank_batch(forecaster(), 2, 10)
    assert batch.lengths.tolist() == [17, 17]
    assert batch.origins.tolist() == [10, 10]
    assert batch.inputs["y"].isnan().all()
    assert batch.inputs["day"].eq(0).all()
    assert batch.targets == {}


def test_columns_are_aligned() -> None:
    assert aligned([["a", "1", "x"], ["bbb", "22", ""]], right=(1,)) == ["a     1  x", "bbb  22"]
