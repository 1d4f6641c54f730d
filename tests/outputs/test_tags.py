"""Tags: any number of classes for one sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import f1_score

from seqloom.data.segments import Segments
from seqloom.dataset import read_dataset
from seqloom.errors import DataError
from seqloom.evaluate import evaluate
from seqloom.fitting import prepare
from seqloom.metrics.tags import score_tags
from seqloom.model import SequenceModel
from seqloom.outputs.output import Places
from seqloom.outputs.tags import Tags, TagsSettings
from seqloom.recipe import parse_recipe

CELLS = np.array(["red; big", "red", ";", None, " big;;red "], object)


def fitted(**settings: Any) -> Tags:
    output = Tags("tags", TagsSettings(kind="tags", **settings))
    output.fit(CELLS)
    return output


def test_a_cell_is_taken_apart() -> None:
    output = fitted()
    assert output.vocabulary.words == ["red", "big"]
    found = output.encode(np.array([*CELLS, "green;big"], object))
    nan = float("nan")
    expected = torch.tensor([[1, 1], [1, 0], [0, 0], [nan, nan], [1, 1], [0, 1]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, equal_nan=True)
    assert "red; big" in fitted(separator="+").vocabulary.words


def test_the_loss_is_the_mean_over_known_tags() -> None:
    output = fitted()
    raw = torch.tensor([[2.0, -1.0], [0.5, 0.5]], dtype=torch.float64)
    target = torch.tensor([[1.0, 0.0], [float("nan")] * 2], dtype=torch.float64)
    expected = np.mean([np.log1p(np.exp(-2.0)), np.log1p(np.exp(-1.0))])
    assert float(output.loss(raw, target, None)) == pytest.approx(expected)
    assert float(output.loss(raw, torch.full_like(raw, float("nan")), None)) == 0
    assert output.monitor(np.array([[0.9, 0.9], [0.9, 0.9]]), target.numpy()) == ("F1", pytest.approx(2 / 3))


def test_scores_agree_with_scikit_learn() -> None:
    random = np.random.default_rng(0)
    names = ["a", "b", "c"]
    true, said = (random.random((50, 3)) < 0.4 for _ in range(2))
    lists = [[[n for n, has in zip(names, row, strict=True) if has] for row in table] for table in (true, said)]
    chance = np.concatenate([random.random((50, 3)), np.ones((1, 3))])
    found = score_tags([*lists[0], None], [*lists[1], ["a"]], labels=names, probabilities=chance)
    assert found.windows == 50
    assert found.metrics["F1"].value == pytest.approx(100 * f1_score(true, said, average="micro"))
    assert found.metrics["macro-F1"].value == pytest.approx(100 * f1_score(true, said, average="macro"))
    assert found.metrics["exact"].value == pytest.approx(100 * (true == said).all(axis=1).mean())
    assert found.labels["b"] == {
        "true": true[:, 1].sum(),
        "answered": said[:, 1].sum(),
        "both": (true & said)[:, 1].sum(),
    }


def test_calibration_counts_each_tag_by_itself() -> None:
    """Of four statements of 0.9 three hold, of two of 0.1 one does; what is not known does not count."""
    y = [["a", "b"], ["a"], None, ["b", "new"]]
    chance = np.array([[0.9, 0.9], [0.9, 0.1], [0.9, 0.9], [0.9, 0.1]])
    found = score_tags(y, [["a"]] * 4, labels=["a", "b"], probabilities=chance)
    assert [row["count"] for row in found.reliability] == [2, 4]
    assert [row["held"] for row in found.reliability] == [0.5, 0.75]
    assert found.metrics["calibration-error"].value == pytest.approx(100 * (4 * 0.15 + 2 * 0.4) / 6)
    assert found.labels["new"] == {"true": 1, "answered": 0, "both": 0}


def test_tags_are_scored_beside_the_most_frequent_ones() -> None:
    frame = pl.DataFrame(
        {"text": ["x y", "x"] * 12, "tags": ["red;big", "red"] * 12, "split": ["train"] * 16 + ["test"] * 8}
    )
    recipe = {
        "data": {"split": {"column": "split", "valid": 0}},
        "inputs": {"text": {"kind": "text"}},
        "outputs": {"tags": {"kind": "tags"}},
    }
    model = SequenceModel(parse_recipe(recipe))
    dataset = read_dataset(model, frame)
    assert {problem.code for problem in dataset.ledger.warnings} == {"repeated-example"}, "cells of tags are no classes"
    prepare(model, dataset)
    found = evaluate(model, dataset)
    assert set(found.frames["tags"].columns) == {"id", "y", "y_hat", "p-red", "p-big", "text"}
    rival = found.document["outputs"]["tags"]["rivals"]["majority"]["metrics"]
    assert rival["F1"]["value"] == pytest.approx(100 * 2 * 8 / (8 + 12)), "red for everybody: big is not above one half"


def test_nothing_to_learn_or_to_score() -> None:
    with pytest.raises(DataError, match="output 'tags': the training part has no tag at all"):
        Tags("tags", TagsSettings(kind="tags")).fit(np.array([None, ";"], object))
    with pytest.raises(DataError, match="the tags of 0 of 1 examples are known"):
        score_tags([None], [["a"]], labels=["a"], probabilities=np.ones((1, 1)))


def test_equal_answers_are_equal_texts() -> None:
    output = fitted()
    cells = np.array(["big; red", "red;red", None, ";", "new;big"], object)
    segments = Segments(list("abcde"), np.zeros(6, np.int64), {}, {"tags": cells})
    places = Places(np.arange(5), *(np.zeros(5, np.int64) for _ in range(3)))
    frame = output.frame(np.array([[0.9, 0.9]] * 5), segments, places)
    assert frame["y"].to_list() == ["red;big", "red", None, ";", "big;new"]
    assert frame["y_hat"].to_list() == ["red;big"] * 5
