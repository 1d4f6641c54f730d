"""The rival that knows words and not their order."""

from __future__ import annotations

import numpy as np
import polars as pl

from seqloom.dataset import read_dataset
from seqloom.evaluate import evaluate
from seqloom.fitting import prepare
from seqloom.model import SequenceModel
from seqloom.recipe import parse_recipe
from seqloom.rivals.tf_idf import TfIdf

TEXTS = ["a good film", "good, so good", "a bad film", "bad and dull", "nothing"]
MOODS = ["glad", "glad", "sad", "sad", None]


def test_it_learns_which_words_mean_what() -> None:
    asked = ["good film", "bad film", ""]
    found = TfIdf().probabilities(TEXTS, MOODS, asked, labels=["sad", "glad", "never seen"])
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert found[0, 1] > 0.6
    assert found[1, 0] > 0.6
    assert (found[:, 2] == 0).all()


def test_it_says_why_it_cannot_learn() -> None:
    assert TfIdf().why_not(TEXTS, MOODS) is None
    assert TfIdf().why_not(TEXTS, ["glad"] * 5) == "the training part has fewer than two labels"
    assert TfIdf().why_not(["", " "], ["glad", "sad"]) == "the training part has no words"


def test_every_class_of_texts_is_scored_beside_it() -> None:
    frame = pl.DataFrame(
        {"text": ["good x", "bad y"] * 20, "mood": ["glad", "sad"] * 20, "split": ["train"] * 20 + ["test"] * 20}
    )
    recipe = {
        "data": {"split": {"column": "split", "valid": 0}},
        "inputs": {"text": {"kind": "text"}},
        "outputs": {"mood": {"kind": "category"}},
    }
    model = SequenceModel(parse_recipe(recipe))
    dataset = read_dataset(model, frame)
    prepare(model, dataset)
    found = evaluate(model, dataset)
    assert found.frames["mood"]["text"].to_list() == ["good x", "bad y"] * 10
    rivals = found.document["outputs"]["mood"]["rivals"]
    assert rivals["TF-IDF"]["metrics"]["accuracy"]["value"] == 100
    assert rivals["majority"]["metrics"]["accuracy"]["value"] == 50
    assert rivals["TF-IDF"]["notes"] == [TfIdf.note]
