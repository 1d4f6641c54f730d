"""Items out: what is asked for, what counts as a candidate, what comes next."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from seqloom.data.ledger import Ledger
from seqloom.dataset import part_places, read_dataset
from seqloom.errors import DataError, RecipeError
from seqloom.evaluate import evaluate
from seqloom.fitting import prepare
from seqloom.model import SequenceModel
from seqloom.outputs.items import END, NGRAM, NOTHING, Items, ItemsSettings, Target, _histories
from seqloom.predict import answer_frames
from seqloom.recipe import parse_recipe
from seqloom.trained import Trained, fit

SESSIONS = [
    ("one", ["a", "b", "c"], "train"),
    ("two", ["b", "c", "a", "b"], "train"),
    ("lone", ["a"], "train"),
    ("test", ["a", "b", "new", "c"], "test"),
    ("none", [], "test"),
]


def frame(rows: list[tuple[Any, ...]] = SESSIONS, **columns: list[Any]) -> pl.DataFrame:
    names = pl.DataFrame({"id": [r[0] for r in rows], "split": [r[2] for r in rows], **columns})
    return names.with_columns(items=pl.Series([r[1] for r in rows], dtype=pl.List(pl.String)))


def recipe(core: dict[str, Any] | None = None, **output: Any) -> dict[str, Any]:
    return {
        "data": {"id": "id", "split": {"column": "split", "valid": 0}},
        "inputs": {"items": {"kind": "items", "size": 4, "unknown_rate": 0.1}},
        "core": {"hidden_size": 6, **(core or {})},
        "outputs": {"next": {"kind": "items", "columns": ["items"], "top": 2, **output}},
        "training": {"steps": 5, "batch_size": 3, "warmup_steps": 1},
    }


def built(data: pl.DataFrame | None = None, **output: Any) -> tuple[SequenceModel, Any]:
    model = SequenceModel(parse_recipe(recipe(**output)))
    dataset = read_dataset(model, frame() if data is None else data)
    prepare(model, dataset)
    return model.eval(), dataset


def next_of(model: SequenceModel) -> Any:
    return model.outputs["next"]


def test_the_target_of_a_step_is_the_item_after_it() -> None:
    model, dataset = built()
    output = next_of(model)
    assert output.vocabulary.words == ["a", "b", "c"]
    found = output.encode(output.read(dataset.segments))
    assert found[:, 0].tolist() == [0, 1, 2, 1, 2, 0, 1, 0, 0, 1, -1, 2]
    assert found[:, 1].tolist() == [1, 2, END, 2, 0, 1, END, END, 1, -1, 2, END]


def test_asked_from_leaves_earlier_items_out() -> None:
    data = frame(first=[None, 4, 2, 4, 2])
    model, dataset = built(data, asked_from="first")
    output = next_of(model)
    assert output.encode(output.read(dataset.segments))[:, 1].tolist() == [
        *(1, 2, END),
        *(NOTHING, NOTHING, 1, END),
        *(END,),
        *(NOTHING, NOTHING, 2, END),
    ]


def test_frames_hold_rank_list_and_truth_and_predictions_what_comes_next() -> None:
    model, dataset = built()
    found = answer_frames(model, dataset.segments, part_places(model, dataset, "test"))["next"]
    assert found.columns[:7] == ["id", "step", "y", "rank", "candidates", "log-p", "y_hat"]
    assert found["id"].to_list() == ["test"] * 4 + ["none"]
    assert found["step"].to_list() == [1, 2, 3, 4, 0]
    assert found["y"].to_list() == ["b", "new", "c", None, None]
    assert found["rank"].to_list()[1] == 4, "an item that training never shows is behind all three"
    assert found["rank"].is_null().to_list() == [False, False, False, True, True]
    assert found["log-p"].is_null().to_list() == [False, True, False, True, True]
    assert found["y_hat"].to_list() == found["item-1"].to_list()
    assert found.filter(id="none").select("item-1", "p-1").row(0) == ("a", pytest.approx(3 / 8))
    coming = Trained(model, {}).predict(frame().select("id", "items"))
    assert coming["id"].to_list() == ["one", "two", "lone", "test", "none"]
    assert coming["step"].to_list() == [3, 4, 1, 4, 0]
    assert coming["y"].null_count() == 5
    assert coming.row(3)[6:] == pytest.approx(found.row(3)[6:])


def test_every_row_is_answered_whatever_its_id() -> None:
    model, _ = built()
    rows = [("u", ["a", "b"], ""), ("u", [], ""), ("u", ["c"], ""), ("v", ["b"], ""), ("u", ["a", "b", "c"], "")]
    coming = Trained(model, {}).predict(frame(rows).select("id", "items"))
    assert coming.select("id", "step").rows() == [("u", 2), ("u", 0), ("u", 1), ("v", 1), ("u", 3)]
    alone = [Trained(model, {}).predict(frame([row]).select("id", "items"))["p-1"][0] for row in rows]
    assert coming["p-1"].to_list() == pytest.approx(alone)


def test_a_row_that_leaves_no_item_to_be_answered_is_named() -> None:
    model, _ = built(repeats=False)
    ledger = Ledger()
    rows = [("u", ["a"], ""), ("u", ["c", "a", "b"], ""), ("w", ["a", "b"], "")]
    coming = Trained(model, {}).predict(frame(rows).select("id", "items"), ledger=ledger)
    assert coming.select("id", "y_hat").rows()[1:] == [("w", "c")], "nor is the answer of an earlier step"
    (problem,) = ledger.problems
    assert (problem.severity, problem.code, problem.row, problem.count) == ("warning", "no-answer", 2, 1)
    assert problem.message == (
        "output 'next' has no answer to 1 of 3 rows, which ask for nothing, or for nothing that it can answer: row 2."
    )


def test_ranks_and_probabilities_are_those_of_all_scores() -> None:
    model, dataset = built()
    places = part_places(model, dataset, "test")
    output = next_of(model)
    found = answer_frames(model, dataset.segments, places)["next"].filter(pl.col("rank").is_not_null(), id="test")
    from seqloom.batch import cut, encode

    encoded = encode(dataset.segments, model.inputs, model.outputs)
    with torch.no_grad():
        scores = (
            model(cut(encoded, places, model.inputs, model.outputs))["next"][0] @ output.vectors().t() + output.bias
        )
    log_p = torch.log_softmax(scores, dim=1)
    assert found["log-p"][0] == pytest.approx(float(log_p[0, 1]), abs=1e-6)
    assert found["rank"][2] == 1 + int((scores[2] > scores[2, 2]).sum())


@pytest.mark.parametrize("more", [{}, {"repeats": False}, {"negatives": 1}])
def test_long_rows_read_in_chunks_are_answered_as_whole_ones(
    more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [("one", list("abcd") * 3, "train"), ("test", list("dcab") * 9, "test"), ("short", list("abc"), "test")]
    model, dataset = built(frame([*rows, ("more", list("efghij"), "train")]), **more)
    places = part_places(model, dataset, "test")
    whole = answer_frames(model, dataset.segments, places)["next"]
    assert len(whole) == 39
    monkeypatch.setattr("seqloom.predict.CELLS", 10)
    pieces = answer_frames(model, dataset.segments, places)["next"]
    numbers = [name for name in whole.columns if whole[name].dtype == pl.Float64]
    assert pieces.drop(numbers).equals(whole.drop(numbers))
    np.testing.assert_allclose(pieces.select(numbers).to_numpy(), whole.select(numbers).to_numpy(), rtol=1e-5)


class Sizes(TorchDispatchMode):
    """Notes the memory of every result with at least so many numbers."""

    def __init__(self, at_least: int) -> None:
        super().__init__()
        self.at_least = at_least
        self.places: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor) and found.numel() >= self.at_least:
            self.places.add(found.untyped_storage().data_ptr())
        return found


@pytest.mark.parametrize("more", [{}, {"repeats": False}, {"negatives": 5}])
def test_ranking_a_few_rows_of_one_table_changes_no_bit(
    more: dict[str, Any], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    V, E, B, T, at_once = 300, 7, 9, 11, 40
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    output = Items("next", ItemsSettings(kind="items", columns=["items"], top=4, tied=False, **more))
    output.restore({"words": [str(k) for k in range(V)], "counts": random.integers(1, 9, V).tolist()})
    output.build(E, E, False)
    item = torch.from_numpy(random.integers(-1, V, (B, T)))
    following = torch.cat([item[:, 1:], torch.full((B, 1), END)], dim=1)
    target = torch.stack([item, following, torch.arange(B * T).reshape(B, T)], dim=-1)
    raw = torch.randn(B, T, E)
    monkeypatch.setattr("seqloom.layers.softmax.BYTES_AT_ONCE", 4 * V * at_once)
    monkeypatch.setattr("seqloom.ranking.BYTES_AT_ONCE", 4 * V * 3)
    with Sizes(V * 8) as large:
        found = output.compared(raw, None, target)
    assert len(large.places - {weight.untyped_storage().data_ptr() for weight in output.parameters()}) == 1
    rows, steps = Target.of(target).answered().nonzero(as_tuple=True)
    assert len(rows) == B * T
    with torch.no_grad():
        for row, step in zip(torch.split(rows, at_once), torch.split(steps, at_once), strict=True):
            scores = raw[row, step] @ output.vectors().t() + output.bias
            whole = output._ranked_rows(Target.of(target), row, step, scores)
            assert np.array_equal(found[row.numpy(), step.numpy()], whole, equal_nan=True)


def test_tied_answers_use_the_embedding_that_reads() -> None:
    model, _ = built()
    output = next_of(model)
    assert output.vectors().data_ptr() == model.inputs["items"].embedding.weight[1:].data_ptr()
    assert "own_vectors" not in dict(output.named_parameters())
    untied, _ = built(tied=False)
    assert tuple(next_of(untied).vectors().shape) == (3, 6)
    assert sum(w.numel() for w in untied.parameters()) - sum(w.numel() for w in model.parameters()) == 18 - 28


def test_items_of_the_sequence_are_no_candidates_where_none_comes_twice() -> None:
    rows = [("one", list("abcd"), "train"), ("test", list("dcab"), "test")]
    model, dataset = built(frame(rows), repeats=False, top=4)
    found = answer_frames(model, dataset.segments, part_places(model, dataset, "test"))["next"]
    assert found["candidates"].to_list() == [3, 2, 1], "after the last item nothing is left to answer"
    assert found["rank"].to_list()[2] == 1
    listed = [row["item-1"] for row in found.iter_rows(named=True)]
    assert listed[2] == "b"
    for read, row in enumerate(found.iter_rows(named=True), start=1):
        held = set("dcab"[:read])
        answered = {row[f"item-{k}"] for k in range(1, 5) if row[f"p-{k}"]}
        assert not answered & held


def test_training_with_drawn_items_and_the_full_softmax_both_learn() -> None:
    rows = [
        (f"s{k}", list("abcde")[k % 5 :] + list("abcde")[: k % 5], "train" if k < 40 else "test") for k in range(60)
    ]
    for more in ({}, {"samples": 3}):
        document = recipe(**more)
        document["training"] |= {"steps": 150, "batch_size": 16, "lr": 0.02}
        found = fit(parse_recipe(document), frame(rows)).evaluate(frame(rows)).document["outputs"]["next"]
        assert found["kind"] == "items"
        assert found["metrics"]["Hit@2"]["value"] == 100
        assert found["metrics"]["perplexity"]["value"] < 1.5
        assert found["rivals"]["markov"]["metrics"]["Hit@2"]["value"] == 100
        assert found["rivals"]["popularity"]["metrics"]["Hit@2"]["value"] < 60


def test_model_and_rivals_are_ranked_among_the_same_drawn_items() -> None:
    rows = [(f"s{k}", list("abcdefgh")[k % 5 + 1 :], "train" if k < 10 else "test") for k in range(15)]
    rows += [("all", list("hagbfced"), "train")]
    model, dataset = built(frame(rows), negatives=1)
    found = evaluate(model, dataset)
    name = "rank-of-2"
    scored = found.document["outputs"]["next"]
    assert {"Hit@2", "Hit@2/2"} <= set(scored["metrics"])
    assert found.frames["next"].filter(pl.col("rank").is_not_null())[name].is_between(1, 2).all()
    assert set(scored["rivals"]) == {"popularity", "markov", f"{NGRAM}-gram"}


def test_histories_stop_where_a_sequence_begins() -> None:
    item, last = np.array([5, 6, 7, 8, 9]), np.array([False, True, False, False, True])
    assert _histories(item, last, 99).tolist() == [
        [99, 99, 99, 5],
        [99, 99, 5, 6],
        [99, 99, 99, 7],
        [99, 99, 7, 8],
        [99, 7, 8, 9],
    ]


def test_a_core_that_reads_backwards_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"asks for what comes next, but this model reads each sequence backwards"):
        SequenceModel(parse_recipe(recipe({"bidirectional": True})))


def test_nothing_to_tie_to() -> None:
    document = recipe()
    document["outputs"]["next"]["columns"] = ["others"]
    with pytest.raises(RecipeError, match=r"no input of kind items reads \['others'\]; add one, or set tied: false"):
        SequenceModel(parse_recipe(document))


def test_no_item_at_all() -> None:
    with pytest.raises(DataError, match="the training part has no item at all; expected sequences of items"):
        next_of(built()[0]).fit(np.array([[None, None]], dtype=object))


def test_the_check_names_rows_that_ask_for_nothing_or_for_the_unknown() -> None:
    ledger = Ledger()
    model = SequenceModel(parse_recipe(recipe()))
    twin = [*SESSIONS, ("twin", ["a", "b", "c"], "test")]
    read_dataset(model, frame(twin), ledger=ledger)
    found = {problem.code: problem for problem in ledger.problems}
    assert found["single-item"].row == 3
    assert found["no-item"].row == 5
    assert "first for 'new' in row 4; they cannot be answered" in found["untaught-item"].message
    assert found["untaught-item"].count == 1
    assert "first row 6 those of row 1" in found["repeated-example"].message
    assert "label-once" not in found


def test_a_table_to_be_answered_must_have_the_items_that_are_read() -> None:
    model, _ = built()
    with pytest.raises(DataError, match="there is no column 'items'"):
        Trained(model, {}).predict(pl.DataFrame({"id": ["x"]}))
    with pytest.raises(DataError, match="column 'items', row 1: 'a' is no list; expected a list of steps"):
        Trained(model, {}).predict(pl.DataFrame({"id": ["x"], "items": ["a"]}))
