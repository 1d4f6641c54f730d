"""The front end in a recipe: what it does to answers, and what is refused, with its line."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import seqloom
from catalogue import BY_NAME, Built, build
from seqloom.batch import cut
from seqloom.errors import RecipeError, StreamingError
from seqloom.model import SequenceModel
from seqloom.outputs.output import Reading
from seqloom.recipe import parse_recipe, parse_text
from seqloom.sequences import Sequences
from seqloom.state import from_bytes, map_state, to_bytes
from seqloom.stream import Stream
from seqloom.training.updates import weights_by_part

RECIPE = """\
inputs:
  x: {kind: series}
core:
  hidden_size: 4
  front:
    - {channels: 4, kernel_size: 3}
    - channels: 4
      kernel_size: 8
      stride: 4
outputs:
  answer: {kind: category}
"""


def refusal(text: str) -> str:
    with pytest.raises(RecipeError) as caught:
        SequenceModel(parse_text(text, "recipe.yaml"))
    return str(caught.value)


def test_labels_for_each_step_need_every_step() -> None:
    assert refusal(RECIPE.replace("category", "labels")) == (
        "recipe.yaml line 9: core.front.1.stride: the front end makes 4 steps one, but outputs.answer answers each "
        "step; expected stride: 1, or outputs.answer.hold: true to let an answer stand for 4 steps"
    )


def test_a_forecast_needs_every_step() -> None:
    text = RECIPE.replace("{kind: category}", "{kind: forecast, columns: [x], horizon: 2}")
    assert refusal(text) == (
        "recipe.yaml line 9: core.front.1.stride: the front end makes 4 steps one, but outputs.answer answers each "
        "coming step; expected stride: 1"
    )
    SequenceModel(parse_text(text.replace("stride: 4", "stride: 1"), "recipe.yaml"))


def test_holding_without_a_shorter_sequence() -> None:
    text = RECIPE.replace("{kind: category}", "{kind: labels, hold: true}")
    SequenceModel(parse_text(text, "recipe.yaml"))
    assert refusal(text.replace("stride: 4", "stride: 1")) == (
        "recipe.yaml line 11: outputs.answer.hold: has no effect, since core.front does not shorten the sequence; "
        "leave it out"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("stride: 4", "strides: 4", "recipe.yaml line 9: core.front.1.strides: unknown key; did you mean 'stride'?"),
        ("stride: 4", "stride: 0", "recipe.yaml line 9: core.front.1.stride: got 0; input should be greater than"),
        ("channels: 4, kernel_size: 3", "channels: 4", "recipe.yaml line 6: core.front.0.kernel_size: is missing"),
        ("stride: 4", "stride: 9", "recipe.yaml line 7: core.front.1: kernel_size 8, stride 9 and dilation 1 read 8"),
    ],
)
def test_the_line_of_what_is_wrong(old: str, new: str, message: str) -> None:
    assert refusal(RECIPE.replace(old, new)).startswith(message)


def test_an_answer_is_held_over_the_steps_it_stands_for() -> None:
    states = torch.arange(6.0).reshape(2, 3, 1) + 1
    reading = Reading(
        Sequences(states, torch.tensor([3, 1])).zero_padding(),
        Sequences(torch.zeros(2, 5, 2), torch.tensor([5, 1])),
        {},
        torch.tensor([5, 1]),
        factor=2,
    )
    assert reading.each_step().squeeze(-1).tolist() == [[1, 1, 2, 2, 3], [4, 0, 0, 0, 0]]


def read(built: Built) -> tuple[Reading, Any]:
    return built.model.read(cut(built.encoded, built.places, built.model.inputs, {}))


def test_the_state_of_a_model_is_a_value_with_its_front_end() -> None:
    built = build(BY_NAME["category-examples-all-front-shorter"])
    _, state = read(built)
    assert len(state.front) == 2
    saved = from_bytes(to_bytes(state), like=built.model.initial_state(1))
    assert to_bytes(saved) == to_bytes(state)


def test_a_stream_keeps_back_what_a_stride_still_waits_for() -> None:
    """Borders within a stride, a push of no step: the state is that of one push, and of a whole that goes on."""
    model = SequenceModel(parse_text(RECIPE, "recipe.yaml"))
    model.assume()
    steps = pl.DataFrame({"x": np.random.default_rng(0).normal(size=30).tolist()})
    whole, parts = Stream(model), Stream(model)
    whole.push(steps)
    for first, stop in ((0, 5), (5, 5), (5, 6), (6, 21), (21, 30)):
        parts.push(steps[first:stop])
    assert whole.state.model is not None
    assert whole.state.model.front[1].wait.tolist() == [1]  # 30 steps are seven strides of four, and two of the next
    map_state(close, parts.state.model, whole.state.model)


def close(found: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    return found


def test_a_held_answer_is_not_streamed() -> None:
    model = SequenceModel(parse_text(RECIPE.replace("kind: category", "kind: labels, hold: true"), "recipe.yaml"))
    with pytest.raises(StreamingError, match=r"answers several steps at once, after the last of them \(outputs.answer"):
        Stream(model)


def test_the_updates_of_a_front_end_are_watched() -> None:
    model = SequenceModel(parse_text(RECIPE, "recipe.yaml"))
    model.assume()
    parts = weights_by_part(model)
    assert list(parts) == ["front", "layer 1", "outputs"]
    assert sum(map(len, parts.values())) == len(list(model.parameters()))


def test_a_front_end_is_saved_with_the_model(tmp_path: Any) -> None:
    random = np.random.default_rng(0)
    rows = [random.normal(size=length).tolist() for length in random.integers(0, 60, 40)]
    table = pl.DataFrame({"x": rows, "answer": [["a", "b"][len(row) > 30] for row in rows]})
    document = {
        "inputs": {"x": {"kind": "series"}},
        "core": {"hidden_size": 4, "front": [{"channels": 5, "kernel_size": 4, "stride": 4, "dropout": 0.2}]},
        "outputs": {"answer": {"kind": "category"}},
        "training": {"steps": 6, "validate_every": 3, "batch_size": 8},
    }
    trained = seqloom.fit(parse_recipe(document), table)
    trained.save(tmp_path / "model.seqloom")
    loaded = seqloom.load(tmp_path / "model.seqloom")
    assert loaded.predict(table).equals(trained.predict(table))
    assert loaded.model.front.factor == 4
