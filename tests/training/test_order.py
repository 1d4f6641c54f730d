"""Batches of similar length: every row once in an epoch, within the bounds, and a function of seed and number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqloom.batch import encode
from seqloom.dataset import part_places, read_dataset
from seqloom.errors import RecipeError
from seqloom.fitting import fit_model, prepare
from seqloom.model import SequenceModel
from seqloom.recipe import parse_recipe
from seqloom.training.lessons import Material
from seqloom.training.order import Bucketed
from seqloom.training.windows import Windows

STEPS = np.random.default_rng(0).integers(0, 90, 500)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=40), st.integers(1, 9), st.integers(1, 99), st.integers(0, 3))
def test_an_epoch_reads_every_row_once_within_the_bounds(steps: list[int], rows: int, most: int, epoch: int) -> None:
    lengths = np.array(steps)
    order = Bucketed(lengths, rows, most, seed=4)
    batches = int(order.per_epoch)
    found = [order.rows(epoch * batches + k) for k in range(batches)]
    assert sorted(np.concatenate(found).tolist()) == list(range(len(steps)))
    for batch in found:
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= most
        assert 1 <= len(batch) <= rows
    largest = order.largest(lengths)
    needed = len(largest) * lengths[largest].max()
    assert len(largest) == 1 or needed <= most
    assert len(largest) in {len(batch) for batch in found}
    assert all(len(batch) * lengths[batch].max() <= needed for batch in found)


def test_the_largest_batch_is_one_that_some_epoch_has() -> None:
    lengths = np.array([8, 8, 9])
    order = Bucketed(lengths, 2, 18, seed=4)
    sizes = {len(batch) * int(lengths[batch].max()) for batch in (order.rows(k) for k in range(40))}
    largest = order.largest(lengths)
    assert len(largest) * int(lengths[largest].max()) == 18 == max(sizes)


def test_batches_hold_rows_of_similar_length() -> None:
    order = Bucketed(STEPS, 64, 400, seed=0)
    batches = [order.rows(k) for k in range(int(order.per_epoch))]
    padded = sum(len(rows) * STEPS[rows].max() for rows in batches)
    assert STEPS.sum() / padded > 0.85
    shuffled = Bucketed(np.full(len(STEPS), 90), 64, 400, seed=0)
    mixed = [shuffled.rows(k) for k in range(int(shuffled.per_epoch))]
    assert STEPS.sum() / sum(len(rows) * STEPS[rows].max() for rows in mixed) < 0.7, "what lengths save"


def test_the_order_is_a_function_of_seed_and_number() -> None:
    first, again, other = (Bucketed(STEPS, 64, 400, seed) for seed in (1, 1, 2))
    batches = int(first.per_epoch)
    numbers = [2 * batches + 3, 0, batches - 1, 5]
    assert all(np.array_equal(first.rows(k), again.rows(k)) for k in [*numbers, *reversed(numbers)])
    assert not np.array_equal(first.rows(0), other.rows(0))
    assert not np.array_equal(first.rows(0), first.rows(batches)), "each epoch has an order of its own"


def recipe(**training: object) -> dict[str, object]:
    return {
        "inputs": {"text": {"kind": "text", "size": 4}},
        "core": {"hidden_size": 4},
        "outputs": {"mood": {"kind": "category"}},
        "training": {"steps": 5, "batch_size": 8, "batch_tokens": 20, "validate_every": 5, **training},
    }


def texts() -> pl.DataFrame:
    words = [" ".join(["good", "bad", "so"][k % 3] for k in range(k % 11)) for k in range(60)]
    return pl.DataFrame({"text": words, "mood": [f"m{k % 2}" for k in range(60)]})


def test_texts_are_trained_in_such_batches(tmp_path: Path) -> None:
    model = SequenceModel(parse_recipe(recipe()))
    dataset = read_dataset(model, texts())
    prepare(model, dataset)
    places = part_places(model, dataset, "train")
    lessons = Windows(model, Material(encode(dataset.segments, model.inputs, model.outputs), places, places))
    ((batch, _),) = lessons.reads(0)
    assert len(batch.lengths) * int(batch.lengths.max()) <= 20
    assert lessons.largest == "2 rows of 10 steps"
    assert fit_model(model, dataset, tmp_path).standing.step == 5


def test_a_bound_on_steps_and_pieces_do_not_go_together() -> None:
    with pytest.raises(RecipeError, match=r"training.batch_tokens is 20 and training.tbptt_steps 3; .* leave one"):
        SequenceModel(parse_recipe(recipe(tbptt_steps=3)))
