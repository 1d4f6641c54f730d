"""The time between steps: in usual gaps, never negative, and read by the cell that is shown it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from catalogue import BY_NAME, build
from seqloom.batch import cut
from seqloom.errors import DataError, RecipeError
from seqloom.inputs.elapsed import Elapsed
from seqloom.inputs.input import InputSettings
from seqloom.recipe import parse_text

NAN = float("nan")


def made(**settings: object) -> Elapsed:
    return Elapsed("gap", InputSettings.model_validate({"kind": "elapsed", **settings}))


def test_one_is_a_usual_gap_and_zero_stays_zero() -> None:
    input = made()
    input.fit(np.array([0.0, 2.0, NAN, 4.0]))  # mean 2
    input.build()
    found = input(input.encode(np.array([0.0, 3.0, NAN])).unsqueeze(0), None)
    assert found.tolist() == [[[0.0], [1.5], [1.0]]]
    assert input.fitted() == {"mean": 2.0}
    other = made()
    other.restore(input.fitted())
    assert torch.equal(other.encode(np.array([3.0])), input.encode(np.array([3.0])))


@pytest.mark.parametrize("values", [[0.0, 0.0], [NAN]])
def test_where_no_time_passes_the_unit_is_one(values: list[float]) -> None:
    input = made()
    input.fit(np.array(values))
    assert input.fitted() == {"mean": 1.0}


def test_time_that_runs_backwards_is_named() -> None:
    with pytest.raises(DataError, match=r"column 'gap' holds -3; expected the time since the step before, at least 0"):
        made().fit(np.array([1.0, -3.0]))
    with pytest.raises(DataError, match="input 'gap' reads 2 numbers for a step; expected 1"):
        made(columns=["a", "b"]).fit(np.ones((3, 2)))


RECIPE = """\
inputs:
  x: {kind: series}
  gap: {kind: elapsed}
outputs:
  y: {kind: category}
core:
"""


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("  cell: decay_gru", r"core.elapsed: got None, but DecayGRU reads the time.*of kind elapsed, here gap"),
        ("  cell: decay_gru\n  elapsed: x", r"line 8: core.elapsed: got 'x', but DecayGRU reads the time between"),
        ("  cell: gru\n  elapsed: gap", r"line 8: core.elapsed: GRU reads no elapsed time; leave it out, or use"),
        (
            "  cell: decay_gru\n  elapsed: gap\n  front: [{channels: 4, kernel_size: 3}]",
            r"line 9: core.front: convolutions take steps for evenly spaced, and DecayGRU reads the time between",
        ),
    ],
)
def test_a_cell_is_shown_the_time_or_the_line_is_named(lines: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_text(RECIPE + lines + "\n", "recipe.yaml")


def test_the_cell_reads_the_named_input_wherever_it_stands() -> None:
    """A longer gap fades the state: the answer moves although no feature does, since the gap is read as time alone."""
    built = build(BY_NAME["category-examples-all-decay_gru"])
    batch = cut(built.encoded, built.places, built.model.inputs, built.model.outputs)
    gap = built.model.inputs["gap"](batch.inputs["gap"], None)
    valid = torch.arange(gap.shape[1]) < batch.lengths.unsqueeze(1)
    assert torch.equal(built.model.join(batch).values[..., 0][valid], gap[..., 0][valid])
    slower = batch._replace(inputs=batch.inputs | {"gap": batch.inputs["gap"] * 0})
    long = batch.lengths > 2
    assert not torch.allclose(built.model(batch)["kind"][long], built.model(slower)["kind"][long])
    cell = built.model.core.cells()[0][0]
    with torch.no_grad():
        cell.get_parameter("rate").fill_(-800.0)  # nothing fades, so time does not matter
        built.model.core.cells()[1][0].get_parameter("rate").fill_(-800.0)
    torch.testing.assert_close(built.model(batch)["kind"], built.model(slower)["kind"])
