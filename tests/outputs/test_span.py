"""Span: which tokens an answer is made of, the loss over them, and the best stretch."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from seqloom.data.ledger import Ledger
from seqloom.dataset import coming_places, read_dataset, training_columns
from seqloom.errors import DataError, RecipeError
from seqloom.model import SequenceModel
from seqloom.outputs.span import Span
from seqloom.recipe import parse_recipe
from seqloom.sequences import Ragged
from seqloom.trained import Trained

FRAME = pl.DataFrame(
    {
        "question": ["Who went?", "Who sat?", "Where?", "Who ran?"],
        "story": ["Ann went. Ann — née Zoë — sat", "Bob sat down.", "In Ulm.", "Nobody ran."],
        "who": ["Ann", "Bobby", None, None],
        "also": ["née Zoë", "Bob", None, None],
        "split": ["train"] * 4,
    }
)


def model(frame: pl.DataFrame = FRAME, **settings: Any) -> SequenceModel:
    document = {
        "data": {"split": {"column": "split", "valid": 0, "test": 0}},
        "inputs": {"text": {"kind": "text", "columns": ["question", "story"], "size": 4}},
        "core": {"hidden_size": 4},
        "outputs": {"who": {"kind": "span", "columns": ["who", "also"], **settings}},
    }
    made = SequenceModel(parse_recipe(document))
    made.fit(*training_columns(made, read_dataset(made, frame)))
    made.build()
    return made.eval()


def span(made: SequenceModel) -> Span:
    output = made.outputs["who"]
    assert isinstance(output, Span)
    return output


def targets(made: SequenceModel) -> list[list[list[float]]]:
    """By row, the flags of each token."""
    found = span(made).encode(span(made).read(read_dataset(made, FRAME).segments))
    assert isinstance(found, Ragged)
    return [part.tolist() for part in found.values.split(found.lengths.tolist())]


def test_every_occurrence_of_every_answer_is_marked() -> None:
    """Who went ? [end] Ann went . Ann — née Zoë — sat."""
    starts, ends, free = (list(column) for column in zip(*targets(model())[0], strict=True))
    assert [k for k, flag in enumerate(starts) if flag] == [4, 7, 9]
    assert [k for k, flag in enumerate(ends) if flag] == [4, 7, 10]
    assert free == [0] * 4 + [1] * 9, "neither the question nor the mark can be the answer"


def test_rows_without_an_answer_teach_nothing_or_that_there_is_none() -> None:
    without, with_none = targets(model()), targets(model(no_answer=True))
    assert not np.array(without[2]).any()
    assert np.array(with_none[2])[:, 2].tolist() == [0, 0, 0, 1, 1, 1]
    assert not np.array(with_none[2])[:, :2].any()


def test_answers_that_do_not_stand_there_are_counted() -> None:
    made = model(FRAME)
    odd = FRAME.with_columns(
        who=pl.Series(["nowhere", "Bobby", "Ulm", None]), also=pl.Series(["nee Zoë", None, None, None])
    )
    ledger = Ledger()
    span(made).report(span(made).read(read_dataset(made, odd).segments), ledger)
    (problem,) = ledger.problems
    assert (problem.code, problem.row, problem.count) == ("absent-answer", 1, 2)
    assert "the answers in row 1, row 2 do not stand, letter by letter, in what" in problem.message


def test_the_loss_is_that_of_all_right_places_together() -> None:
    output = span(model())
    raw = torch.tensor([[[9.0, 9.0, 0.0], [1.0, 0.0, 0.0], [2.0, 1.0, 0.0], [0.5, 0.3, 0.0]]])
    target = torch.tensor([[[0, 0, 0], [1, 0, 1], [0, 0, 1], [1, 1, 1]]]).float()
    start, end = np.exp([1.0, 2.0, 0.5]), np.exp([0.0, 1.0, 0.3])
    expected = -np.log((start[0] + start[2]) / start.sum()) - np.log(end[2] / end.sum())
    assert float(output.loss(raw, target, None)) == pytest.approx(expected)
    both = output.loss(raw.expand(2, -1, -1), torch.cat([target, torch.zeros_like(target)]), None)
    assert float(both) == pytest.approx(expected), "a row without a target does not count"
    assert float(output.loss(raw, torch.zeros_like(target), None)) == 0


def test_the_loss_of_there_being_none() -> None:
    output = span(model(no_answer=True))
    raw = torch.tensor([[[1.0, 0.0, -1.0], [2.0, 1.0, 3.0]]])
    target = torch.tensor([[[0, 0, 1], [0, 0, 1]]]).float()
    shares = [np.exp(3.0) / np.exp(scores).sum() for scores in ([1.0, 2.0, 3.0], [0.0, 1.0, 3.0])]
    assert float(output.loss(raw, target, None)) == pytest.approx(-np.log(shares).sum())


def test_the_best_span_is_the_best_of_all() -> None:
    """Against trying every pair."""
    random = np.random.default_rng(0)
    for none, longest in ((False, 3), (True, 3), (True, 99)):
        output = span(model(no_answer=none, longest=longest))
        for _ in range(20):
            scores = random.normal(0, 2, (7, 3))
            choices = np.exp(scores[:, :2])
            last = np.exp(scores[:, 2].max()) if none else 0.0
            start, end = (column / (column.sum() + last) for column in choices.T)
            pairs = {(i, j): start[i] * end[j] for i in range(7) for j in range(i, min(i + longest, 7))}
            if none:
                pairs[-1, -1] = np.prod([last / (column.sum() + last) for column in choices.T])
            best = max(pairs, key=lambda pair: pairs[pair])
            found = output._best(scores)
            assert (found.first, found.last) == best
            assert found.chance == pytest.approx(pairs[best])


def test_answers_come_as_texts_with_characters_and_bytes() -> None:
    made = model()
    output = span(made)
    dataset = read_dataset(made, FRAME)
    raw = np.zeros((4, 13, 3))
    raw[0, 9, 0] = raw[0, 10, 1] = 99
    frame = output.frame(raw, dataset.segments, coming_places(made, dataset))
    row = frame.row(0, named=True)
    assert (row["y"], row["y-2"], row["y_hat"]) == ("Ann", "née Zoë", "née Zoë")
    story = FRAME["story"][0]
    assert story[row["start"] : row["end"]] == "née Zoë"
    assert story.encode()[row["start_byte"] : row["end_byte"]].decode() == "née Zoë"
    assert row["p"] == pytest.approx(1)


def test_new_questions_need_no_answers() -> None:
    frame = Trained(model(), {}).predict(FRAME.select("question", "story"))
    assert frame["y"].null_count() == 4
    for said, story in zip(frame["y_hat"], FRAME["story"], strict=True):
        assert said in story


def test_a_training_part_without_any_answer_is_refused() -> None:
    empty = FRAME.with_columns(who=pl.lit(None, pl.String), also=pl.lit(None, pl.String))
    with pytest.raises(DataError, match="output 'who': no row of the training part has an answer in who, also"):
        model(empty)


def test_a_text_is_needed_and_its_column_must_exist() -> None:
    with pytest.raises(RecipeError, match=r"outputs.who: a span is a stretch of a text that is read; add an input"):
        SequenceModel(parse_recipe({"inputs": {"x": {"kind": "series"}}, "outputs": {"who": {"kind": "span"}}}))
    with pytest.raises(RecipeError, match=r"outputs.who.within is 'novel'; expected a column of inputs.text: question"):
        model(within="novel")
