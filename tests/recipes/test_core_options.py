"""What a recipe may say of its cell: each setting has an effect, or the line is named."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from catalogue import BY_NAME, build
from seqloom.batch import cut
from seqloom.errors import RecipeError
from seqloom.model import SequenceModel
from seqloom.recipe import parse_text

RECIPE = """\
inputs:
  x: {kind: series}
outputs:
  y: {kind: category}
core:
  hidden_size: 8
"""


def model(**core: Any) -> SequenceModel:
    lines = "".join(f"  {key}: {value}\n" for key, value in core.items())
    made = SequenceModel(parse_text(RECIPE + lines, "recipe.yaml"))
    made.assume()
    return made


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            "cell: projected_lstm\n  options: {prof_size: 3}",
            r"recipe.yaml line 8: core.options.prof_size: ProjectedLSTM has no such option; known: proj_size",
        ),
        ("options: {proj_size: 3}", r"line 7: core.options.proj_size: GRU has no such option; known: none"),
        (
            "cell: projected_lstm\n  options: {proj_size: half}",
            r"line 8: core.options.proj_size: got 'half'; input should be a valid integer",
        ),
        (
            "cell: projected_lstm\n  options:\n    proj_size: 9",
            r"line 8: core.options: proj_size is 9; expected 1 to 8, the hidden_size it narrows",
        ),
        (
            "cell: min_gru\n  recurrent_dropout: 0.1",
            r"line 8: core.recurrent_dropout: MinGRU has no weights that look back, so there is nothing to drop",
        ),
        ("zoneout: 1.0", r"line 7: core.zoneout: got 1.0; input should be less than 1"),
        ("recurrent_dropout: -1", r"line 7: core.recurrent_dropout: got -1; input should be greater than or equal"),
    ],
)
def test_what_has_no_effect_is_refused_with_its_line(lines: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_text(f"{RECIPE}  {lines}\n", "recipe.yaml")


def test_options_reach_the_cell() -> None:
    assert model(cell="projected_lstm", options="{proj_size: 3}").core.output_size == 3
    assert model(cell="projected_lstm").core.output_size == 8


def test_each_option_is_around_the_cell() -> None:
    (cell,) = model(recurrent_dropout=0.1, zoneout=0.2, learned_state="true").core.cells()[0]
    assert cell.title == "GRU with a learned initial state with recurrent dropout with zoneout"
    (plain,) = model().core.cells()[0]
    assert plain is plain.bare


@pytest.mark.parametrize("setting", [{"recurrent_dropout": 0.5}, {"zoneout": 0.5}])
def test_noise_in_training_and_none_in_evaluation(setting: dict[str, float]) -> None:
    case = BY_NAME["category-examples-all-lstm"]
    built = build(type(case)(case.name, case.table, case.inputs, case.outputs, case.core | setting))
    batch = cut(built.encoded, built.places, built.model.inputs, built.model.outputs)
    torch.manual_seed(0)
    assert torch.equal(built.model(batch)["kind"], built.model(batch)["kind"])
    built.model.train()
    assert not torch.equal(built.model(batch)["kind"], built.model(batch)["kind"])
