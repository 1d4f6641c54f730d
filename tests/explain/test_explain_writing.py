"""What is said of a model that writes is what its parts do."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seqloom.explain.model import Explanation, explain_model
from seqloom.explain.stage import Stage, saved
from seqloom.layers.attention import Additive
from seqloom.model import SequenceModel
from seqloom.recipe import parse_recipe
from seqloom.sequences import Sequences
from seqloom.state import size


def writer(core: dict[str, Any] | None = None, **reply: Any) -> SequenceModel:
    document = {
        "inputs": {"asked": {"kind": "text", "size": 5}},
        "core": {"cell": "lstm", "hidden_size": 6, "num_layers": 2, "bidirectional": True, **(core or {})},
        "outputs": {"reply": {"kind": "text", "tokens": "word", "size": 7, "max_length": 9, **reply}},
    }
    model = SequenceModel(parse_recipe(document))
    model.assume()
    return model


def named(explanation: Explanation) -> dict[str, Stage]:
    return {stage.name: stage for stage in explanation.stages}


def test_shapes_of_every_part() -> None:
    model = writer(beam_size=4, n_best=2, num_layers=2, hidden_size=8)
    stages = named(explain_model(model, batch_size=3, steps=11))
    V = len(model.outputs["reply"].tokenizer)  # type: ignore[attr-defined]
    assert {name: stage.shape for name, stage in stages.items() if "reply" in name} == {
        "reply bridge": (3, 2 * (8 + 8)),
        "reply tokens, embedded": (3, 9, 7),
        "reply decoder layer 1: LSTM": (3, 9, 8),
        "reply decoder layer 2: LSTM": (3, 9, 8),
        "reply attention": (3, 9, 11),
        "reply features": (3, 9, 7),
        "output reply": (3, 9, V),
        "reply search": (3, 4, 9),
    }
    assert "48 numbers of all its layers and directions" in stages["reply bridge"].note
    assert "beam of 4, length penalty 0.6, 2 of them answered; token by token" in stages["reply search"].note
    held = named(explain_model(writer(no_repeat=3, repetition_penalty=1.5)))["reply search"].note
    assert "answered; repetition penalty 1.5; no run of 3 twice; token by token" in held
    assert stages["core layer 2: LSTM in both directions"].note == (
        "returns sequences: yes, reply's attention looks at every step, its bridge takes the final state"
    )


@pytest.mark.parametrize(
    "reply",
    [{}, {"tied": False}, {"attention": "multi_head", "hidden_size": 6, "heads": 3}, {"input_feeding": True}],
)
def test_parameters_of_stages_add_up_to_the_model(reply: dict[str, Any]) -> None:
    model = writer(**reply)
    assert explain_model(model).parameters == sum(weight.numel() for weight in model.parameters())


def test_who_runs_the_decoder_in_training_and_in_search() -> None:
    text = explain_model(writer(beam_size=1)).to_text()
    for part in ("core layer 1: LSTM in both directions", "reply decoder layer 1: LSTM", "reply search"):
        assert f"  {part}: " in text.partition("Kernels")[2]
    assert "greedy, length penalty" in text
    assert "token by token, for the sake of input_feeding" not in text
    assert "token by token, for the sake of input_feeding" in explain_model(writer(input_feeding=True)).to_text()


def test_the_kernel_of_the_recipe_runs_the_decoder_too() -> None:
    stages = named(explain_model(writer({"backend": "reference"})))
    for name in ("reply decoder layer 1: LSTM", "reply search"):
        kernel = stages[name].kernel
        assert kernel is not None
        assert kernel.name == "reference"


def test_sizes_of_vocabularies_came_from_data() -> None:
    model = writer()
    V = len(model.outputs["reply"].tokenizer)  # type: ignore[attr-defined]
    assert f"output reply: {V} tokens in its vocabulary, marks included" in explain_model(model).from_data


def test_what_is_taken_apart_as_a_whole_does_not_stream() -> None:
    found = explain_model(writer({"bidirectional": False})).streaming
    assert found.startswith("no: inputs.asked is taken apart as a whole")


def test_additive_attention_keeps_its_large_table() -> None:
    """Of each pair of a token and a step it keeps a vector, which is most of what training needs."""
    attention = Additive(4, 5, 6)
    read = Sequences.full(torch.randn(2, 7, 5))

    def look() -> torch.Tensor:
        found: torch.Tensor = attention(torch.randn(2, 3, 4), attention.remember(read)).weights
        return found

    _, kept = saved(attention, look)
    assert 2 * 3 * 7 * 6 <= kept <= 2 * (2 * 3 * 7 * 6)


def test_the_state_of_a_text_is_counted() -> None:
    model = writer(input_feeding=True)
    decoder = model.outputs["reply"].decoder  # type: ignore[attr-defined]
    state = decoder.begin(Sequences.full(torch.zeros(1, 1, 12)), model.core.bare_state(model.core.initial_state(1)))
    held = size((state.core, state.fed))
    assert f"{held} numbers of state for each text" in named(explain_model(model))["reply search"].note


def test_the_model_is_left_as_it_was() -> None:
    model = writer().train()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    explain_model(model)
    assert model.training
    assert all(module.training for module in model.modules())
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
