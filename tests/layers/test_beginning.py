"""Initial weights that a recipe may ask for: their effect, and their refusal where a cell has no room."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from catalogue import OWN_CELL
from flows import forecast_recipe
from seqloom.cells.cell import Cell
from seqloom.errors import RecipeError
from seqloom.gates import evaluate, keeper, kept, recurrent_weights
from seqloom.layers.beginning import make_orthogonal, set_memory, why_no_memory, why_not_orthogonal
from seqloom.lookup import find, names
from seqloom.model import SequenceModel
from seqloom.recipe import parse_recipe, parse_text

CELLS = [find("cells", name, Cell) for name in names("cells")]


@pytest.mark.parametrize("kind", [kind for kind in CELLS if why_no_memory(kind) is None])
def test_memories_reach_from_one_step_to_the_longest(kind: type[Cell]) -> None:
    torch.manual_seed(0)
    cell = kind(2, 200)
    set_memory(cell, 100)
    state = cell.initial_state(1)
    values = evaluate(cell, torch.zeros(1, 2), state)
    found = keeper(kind)
    assert found is not None
    memory = 1 / (1 - kept(cell, values, state)[found.state][0])
    assert 1.9 < memory.min() < 10
    assert 90 < memory.max() < 100.1
    assert 40 < memory.mean() < 60
    if found.input_biases:
        total = sum(cell.symbols()[name] for name in (*found.biases, *found.input_biases))
        assert torch.allclose(torch.as_tensor(total), torch.zeros(200))


@pytest.mark.parametrize("kind", [kind for kind in CELLS if why_not_orthogonal(kind) is None])
def test_each_recurrent_matrix_keeps_lengths(kind: type[Cell]) -> None:
    cell = kind(2, 7)
    make_orthogonal(cell)
    for name in recurrent_weights(kind):
        matrix = cell.symbols()[name]
        torch.testing.assert_close(matrix @ matrix.T, torch.eye(7), rtol=0, atol=1e-5)


def recipe(**core: Any) -> dict[str, Any]:
    return forecast_recipe() | {"core": {"hidden_size": 6, **core}}


def test_a_recipe_reaches_every_cell() -> None:
    model = SequenceModel(parse_recipe(recipe(cell="gru", num_layers=2, memory_steps=50, orthogonal=True)))
    model.assume()
    for (cell,) in model.core.cells():
        weights = cell.symbols()
        assert weights["b_iz"].min() >= 0
        assert not weights["b_hz"].any()
        torch.testing.assert_close(weights["W_hr"] @ weights["W_hr"].T, torch.eye(6), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("core", "message"),
    [
        ({"cell": "rnn", "memory_steps": 9}, "core.memory_steps: RNN has no gate with a bias that keeps its state"),
        ({"cell": "min_gru", "orthogonal": True}, "core.orthogonal: MinGRU has no square matrix for each gate"),
        ({"cell": OWN_CELL, "memory_steps": 9}, "core.memory_steps: Leaky has no gate with a bias"),
        ({"cell": OWN_CELL, "orthogonal": True}, "core.orthogonal: Leaky has no square matrix"),
    ],
)
def test_a_cell_without_room_refuses(core: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as found:
        parse_recipe(recipe(**core))
    assert message in str(found.value)
    assert str(found.value).endswith("; leave it out, or change core.cell")


def test_a_refusal_names_the_line() -> None:
    text = "inputs:\n  x: {kind: series}\ncore:\n  cell: rnn\n  memory_steps: 5\noutputs:\n  y: {kind: number}\n"
    with pytest.raises(RecipeError, match=r"^a\.yaml line 5: core\.memory_steps: RNN has no gate"):
        parse_text(text, "a.yaml")
