"""Whether the next item is liked: what is asked, what counts, what is answered, and the naive rivals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from seqloom.batch import cut, encode
from seqloom.data.ledger import Ledger
from seqloom.dataset import part_places, read_dataset
from seqloom.errors import DataError, RecipeError
from seqloom.evaluate import evaluate
from seqloom.fitting import prepare
from seqloom.model import SequenceModel
from seqloom.outputs.liked import NOTHING, UNRATED, Liked
from seqloom.predict import answer_frames
from seqloom.recipe import parse_recipe
from seqloom.rivals.liking import PRIOR
from seqloom.stream import Stream
from seqloom.trained import Trained, fit, load

Row = tuple[str, list[Any], list[Any], str]
HISTORIES: list[Row] = [
    ("one", ["a", "b", "c"], [5, 4, 1], "train"),
    ("two", ["b", "c", "a", "b"], [3, None, 4, 2], "train"),
    ("lone", ["a"], [5], "train"),
    ("test", ["a", "b", "new", None, "c"], [4, 5, 3, 4, None], "test"),
    ("newcomer", ["b"], [None], "test"),
    ("nobody", [], [], "test"),
]


def frame(rows: list[Row] = HISTORIES, **columns: list[Any]) -> pl.DataFrame:
    names = pl.DataFrame({"id": [r[0] for r in rows], "split": [r[3] for r in rows], **columns})
    return names.with_columns(
        films=pl.Series([r[1] for r in rows], dtype=pl.List(pl.String)),
        stars=pl.Series([r[2] for r in rows], dtype=pl.List(pl.Float64)),
    )


def recipe(inputs: dict[str, Any] | None = None, **output: Any) -> dict[str, Any]:
    given = {"films": {"kind": "items", "size": 4, "unknown_rate": 0.1}, "stars": {"kind": "series"}}
    return {
        "data": {"id": "id", "split": {"column": "split", "valid": 0}},
        "inputs": given if inputs is None else inputs,
        "core": {"hidden_size": 6},
        "outputs": {"liked": {"kind": "liked", "columns": ["stars"], "at_least": 4, **output}},
        "training": {"steps": 5, "batch_size": 3, "warmup_steps": 1},
    }


def built(data: pl.DataFrame | None = None, **output: Any) -> tuple[SequenceModel, Any, Liked]:
    model = SequenceModel(parse_recipe(recipe(**output)))
    dataset = read_dataset(model, frame() if data is None else data)
    prepare(model, dataset)
    (found,) = model.eval().outputs.values()
    assert isinstance(found, Liked)
    return model, dataset, found


def test_the_target_of_a_step_is_the_item_after_it_and_whether_it_is_liked() -> None:
    _, dataset, output = built()
    assert output.items.vocabulary.words == ["a", "b", "c"]
    end = (NOTHING, NOTHING)
    assert list(map(tuple, output.encode(output.read(dataset.segments)).tolist())) == [
        *((2, 1), (3, 0), end),
        *((3, UNRATED), (1, 1), (2, 0), end),
        end,
        *((2, 1), (0, 0), (0, 1), (3, UNRATED), end),
        end,
    ]
    assert output.fitted() == {"liked": [0, 1, 1, 0], "others": [0, 0, 1, 1]}, "of the training part alone"


def test_asked_from_leaves_earlier_items_out() -> None:
    _, dataset, output = built(frame(first=[None, 4, 2, 5, 2, 2]), asked_from="first")
    found = output.encode(output.read(dataset.segments))[:, 0].tolist()
    assert found[3:7] == [NOTHING, NOTHING, 2, NOTHING]
    assert found[8:13] == [NOTHING, NOTHING, NOTHING, 3, NOTHING]


@torch.no_grad()
def test_loss_and_answers_follow_the_equation() -> None:
    model, dataset, output = built()
    torch.manual_seed(1)
    torch.nn.init.normal_(output.bias)
    places = part_places(model, dataset, "test")
    batch = cut(encode(dataset.segments, model.inputs, model.outputs), places, model.inputs, model.outputs)
    raw, target = model(batch)["liked"], batch.targets["liked"]
    vectors = output.items.embedding.weight
    p = torch.sigmoid(torch.einsum("bte,ve->btv", raw, vectors) + output.bias).double()
    expected = [p[0, 0, 2], p[0, 1, 0], p[0, 2, 0], p[0, 3, 3]]
    answered = output.compared(raw, None, target)
    np.testing.assert_allclose(answered[0, :4, 0], torch.stack(expected).numpy(), rtol=1e-5)
    assert np.isnan(answered[0, 4:]).all()
    assert np.isnan(answered[1:]).all()
    np.testing.assert_allclose(output.answers(raw, None), p.numpy(), rtol=1e-5)
    right = -torch.stack([expected[0].log(), (1 - expected[1]).log(), expected[2].log()]).mean()
    torch.testing.assert_close(output.loss(raw, target, None).double(), right)
    assert output.known(target) == 3, "what is not rated teaches nothing"
    said = [float(expected[k]) >= 0.5 for k in range(3)]
    accuracy = np.mean([said[0], not said[1], said[2]])
    for answers in (answered, output.answers(raw, None)):
        assert output.monitor(answers, target.numpy()) == ("accuracy", pytest.approx(accuracy))


def test_the_bias_begins_at_how_often_each_item_is_liked() -> None:
    _, _, output = built()
    shares = (np.array([0, 1, 1, 0]) + PRIOR / 2) / (np.array([0, 1, 2, 1]) + PRIOR)
    np.testing.assert_allclose(torch.sigmoid(output.bias.detach()).numpy(), shares, rtol=1e-6)


def test_frames_name_item_truth_and_probability() -> None:
    model, dataset, output = built()
    found = answer_frames(model, dataset.segments, part_places(model, dataset, "test"))["liked"]
    assert found.columns == ["id", "step", "item", "y", "y_hat", "p-liked"]
    assert found.select("id", "step", "item", "y").rows() == [
        ("test", 1, "b", "liked"),
        ("test", 2, "new", "not liked"),
        ("test", 3, None, "liked"),
        ("test", 4, "c", None),
        ("newcomer", 0, "b", None),
    ]
    assert found["p-liked"][4] == pytest.approx(output.liking.items[2])
    assert ((found["p-liked"] >= 0.5) == (found["y_hat"] == "liked")).all()


def predicted(model: SequenceModel, rows: list[Row], ledger: Ledger | None = None) -> pl.DataFrame:
    """What a trained model answers to new rows, of whose part nothing is said."""
    return Trained(model, {}).predict(frame(rows).select("id", "films", "stars"), ledger=ledger)


def test_predictions_are_of_items_without_a_rating_and_of_the_last_ones() -> None:
    model, dataset, _ = built()
    coming = predicted(model, HISTORIES)
    assert coming.select("id", "step", "item").rows() == [
        ("one", 2, "c"),
        ("two", 1, "c"),
        ("two", 3, "b"),
        ("lone", 0, "a"),
        ("test", 4, "c"),
        ("newcomer", 0, "b"),
    ]
    told = answer_frames(model, dataset.segments, part_places(model, dataset, "test"))["liked"]
    assert coming["p-liked"][4] == pytest.approx(told["p-liked"][3])
    candidates = [("u", ["a", "b", item], [5, 1, None], "") for item in ("c", "a", "never seen")]
    found = predicted(model, candidates)
    assert found["item"].to_list() == ["c", "a", "never seen"]
    assert found["p-liked"].n_unique() == 3


def test_every_row_is_answered_whatever_its_id_or_named() -> None:
    model, _, _ = built()
    rows: list[Row] = [
        ("u", ["a"], [5], ""),
        ("u", ["a", "b", "c"], [5, 4, 1], ""),
        ("u", ["a", "b", "c"], [5, None, 1], ""),
        ("u", [], [], ""),
        ("u", ["c", "b"], [5, 4], ""),
    ]
    ledger = Ledger()
    coming = predicted(model, rows, ledger)
    steps_and_items = [(0, "a"), (2, "c"), (1, "b"), (2, "c"), (1, "b")]  # the third row asks twice, the fourth nothing
    assert coming.select("step", "item").rows() == steps_and_items
    assert set(coming["id"]) == {"u"}
    found = {problem.code: problem for problem in ledger.problems}
    assert (found["no-answer"].row, found["no-answer"].count) == (4, 1)


def test_without_the_ratings_it_still_answers() -> None:
    model = SequenceModel(parse_recipe(recipe({"films": {"kind": "items", "size": 4}})))
    prepare(model, read_dataset(model, frame()))
    coming = Trained(model.eval(), {}).predict(frame().select("id", "films"))
    assert coming.filter(id="test")["item"].to_list() == ["b", "new", None, "c"]
    assert coming["y"].null_count() == len(coming)


def test_the_rating_that_is_asked_for_is_not_seen() -> None:
    model, _, _ = built()
    histories = [("u", ["a", "b", "c"], [5, 1, stars], "") for stars in (1, 5, None)]
    found = predicted(model, histories).filter(step=2)
    assert found["p-liked"].n_unique() == 1
    assert found["y"].to_list() == ["not liked", "liked", None]


def test_long_rows_read_in_chunks_are_answered_as_whole_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[Row] = [
        ("one", list("abcd") * 3, [5, 1, 4, 2] * 3, "train"),
        ("test", list("dcab") * 9, [1, 5, None, 4] * 9, "test"),
        ("short", list("abc"), [3, 4, 5], "test"),
    ]
    model, dataset, _ = built(frame(rows))
    places = part_places(model, dataset, "test")
    whole = answer_frames(model, dataset.segments, places)["liked"]
    assert len(whole) == 35 + 2
    monkeypatch.setattr("seqloom.predict.CELLS", 10)
    pieces = answer_frames(model, dataset.segments, places)["liked"]
    assert pieces.drop("p-liked").equals(whole.drop("p-liked"))
    np.testing.assert_allclose(pieces["p-liked"].to_numpy(), whole["p-liked"].to_numpy(), rtol=1e-5)


def test_rivals_know_the_item_and_the_user_so_far() -> None:
    model, dataset, output = built()
    places = part_places(model, dataset, "test")
    found = {r.name: r.frame for r in output.rivals(dataset.segments, places, output.read(dataset.segments)[:8])}
    assert list(found) == ["share", "item mean", "user mean", "item and user mean"]
    chances = {name: rows["p-liked"].to_numpy()[:4] for name, rows in found.items() if rows is not None}
    item, user = np.array([3.5 / 7, 0.5, 0.5, 2.5 / 6]), np.array([3.5 / 6, 4.5 / 7, 4.5 / 8, 5.5 / 9])
    np.testing.assert_allclose(chances["share"], 0.5)
    np.testing.assert_allclose(chances["item mean"], item)
    np.testing.assert_allclose(chances["user mean"], user)
    odds = item / (1 - item) * user / (1 - user)
    np.testing.assert_allclose(chances["item and user mean"], odds / (1 + odds))


def test_evaluation_scores_what_is_rated_beside_rivals() -> None:
    model, dataset, _ = built()
    found = evaluate(model, dataset, "test")
    scores = found.document["outputs"]["liked"]
    assert list(scores["metrics"]) == ["AUC", "log-loss", "calibration-error", "accuracy"]
    rated = found.frames["liked"].drop_nulls("y")
    assert len(rated) == 3
    p = np.where(rated["y"] == "liked", rated["p-liked"], 1 - rated["p-liked"])
    assert scores["metrics"]["log-loss"]["value"] == pytest.approx(-np.log(p).mean())
    assert scores["rivals"]["share"]["metrics"]["AUC"]["value"] == 0.5
    unrated = frame().with_columns(stars=pl.when(id="test").then([None, 5, None, None, None]).otherwise("stars"))
    lone = read_dataset(model, unrated.with_columns(stars=pl.when(id="newcomer").then([5.0]).otherwise("stars")))
    assert len(evaluate(model, lone, "test").frames["liked"].drop_nulls("y")) == 2
    nothing = [*HISTORIES[:3], ("test", ["a", "b"], [4, None], "test"), ("newcomer", ["b"], [5], "test")]
    with pytest.raises(DataError, match="nothing to score: no item that is asked for has a rating"):
        evaluate(model, read_dataset(model, frame(nothing)), "test")


def test_a_stream_answers_every_item() -> None:
    model, _, output = built()
    stream = Stream(model)
    found = stream.push(pl.DataFrame({"films": ["a", "b"], "stars": [5.0, 1.0]}))["liked"]
    assert found.shape == (2, 4)
    coming = Trained(model, {}).predict(
        frame([("u", ["a", "b", "c"], [5, 1, None], "")]).select("id", "films", "stars")
    )
    code = int(output.items.vocabulary.encode(["c"])[0])
    assert coming["p-liked"].to_list() == pytest.approx([found[1, code]])


def test_taste_is_learned_and_comes_back_from_a_file(tmp_path: Path) -> None:
    """Users like one half of the films, which their first ratings tell; no rival that counts knows it."""
    random = np.random.default_rng(3)
    rows: list[Row] = []
    for user in range(160):
        taste, films = user % 2, random.permutation(20)[:8]
        stars = [5.0 if film % 2 == taste else 1.0 for film in films]
        rows.append((f"u{user}", [f"film {film}" for film in films], stars, "train" if user < 120 else "test"))
    changes = {"core": {"hidden_size": 16}, "training": {"steps": 150, "batch_size": 32, "lr": 0.02, "seed": 1}}
    trained = fit(parse_recipe({**recipe(), **changes}), frame(rows))
    scores = trained.evaluate(frame(rows)).document["outputs"]["liked"]
    assert scores["metrics"]["AUC"]["value"] > 0.9
    assert max(rival["metrics"]["AUC"]["value"] for rival in scores["rivals"].values()) < 0.75
    trained.save(tmp_path / "liked.seqloom")
    table = frame(rows).select("id", "films", "stars")
    assert load(tmp_path / "liked.seqloom").predict(table).equals(trained.predict(table))


@pytest.mark.parametrize(
    ("inputs", "entry", "message"),
    [
        ({"stars": {"kind": "series"}}, {}, "outputs.liked.of is None; expected .* kind items, of which there is none"),
        (None, {"of": "stars"}, "outputs.liked.of is 'stars'; expected the input that reads the items, one of films"),
        (None, {"columns": ["stars", "films"]}, "expected one column of ratings"),
        (None, {"at_least": "many"}, "outputs.liked.at_least: got 'many'"),
    ],
)
def test_wrong_recipes_are_named(inputs: dict[str, Any] | None, entry: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        SequenceModel(parse_recipe(recipe(inputs, **entry)))


def test_an_input_of_items_is_named_where_there_are_several() -> None:
    several = {"films": {"kind": "items"}, "actors": {"kind": "items"}}
    with pytest.raises(RecipeError, match="one of films, actors"):
        SequenceModel(parse_recipe(recipe(several)))
    model = SequenceModel(parse_recipe(recipe(several, of="actors")))
    (output,) = model.outputs.values()
    assert isinstance(output, Liked)
    assert output.items is model.inputs["actors"]


def test_it_may_not_read_backwards() -> None:
    backwards = {**recipe(), "core": {"hidden_size": 6, "bidirectional": True}}
    with pytest.raises(RecipeError, match=r"outputs\.liked asks for what comes next"):
        SequenceModel(parse_recipe(backwards))


@pytest.mark.parametrize("threshold", [4, 900.5, -3])
def test_shapes_can_be_looked_at_before_any_data(threshold: float) -> None:
    model = SequenceModel(parse_recipe(recipe(at_least=threshold)))
    model.assume()
    assert model.outputs["liked"].get_parameter("bias").shape == (11,)


@pytest.mark.parametrize("threshold", [9, 0])
def test_a_threshold_beyond_the_ratings_is_refused(threshold: float) -> None:
    with pytest.raises(DataError, match=f"at_least: {threshold} and ratings from 1 to 4; expected some of either"):
        built(at_least=threshold)


def test_a_training_part_without_ratings_is_refused() -> None:
    data = frame([*HISTORIES[2:3], ("x", ["a", "b"], [4, None], "train"), HISTORIES[3]])
    with pytest.raises(DataError, match="0 are liked and 0 are not, with at_least: 4 and no rating"):
        built(data)


def problems(rows: list[Row]) -> dict[str, Any]:
    ledger = Ledger()
    read_dataset(SequenceModel(parse_recipe(recipe())), frame(rows), ledger=ledger)
    return {problem.code: problem for problem in ledger.problems}


def test_the_check_finds_missing_and_odd_ratings() -> None:
    found = problems(HISTORIES)
    assert (found["missing-target"].row, found["missing-target"].count) == (2, 3)
    assert found["single-item"].row == 3
    assert "odd-rating" not in found
    assert "zero-rating" not in found
    odd = problems([*HISTORIES, ("late", ["a", "b", "c"], [4, 45, 7], "test")])["odd-rating"]
    assert (odd.row, odd.count) == (7, 2)
    assert "the train part never gives: 45 (1), 7 (1), first in row 7" in odd.message
    assert "there the grades are 1, 2, 3, 4, 5. Check their scale." in odd.message
    zero = problems([*HISTORIES, ("zero", ["a", "b"], [0, 0], "train")])["zero-rating"]
    assert (zero.row, zero.count) == (7, 2)
    assert "leave the cell empty (null)" in zero.message
    two = [("one", ["a", "b", "c"], [1, 0, 1], "train"), ("test", ["a", "b"], [0, 1], "test")]
    assert "zero-rating" not in problems(two), "thumbs up and down are grades"
