"""Greedy search: the likeliest token at each step, and nothing after the end."""

from __future__ import annotations

import pytest
import torch

from search.tiny import Tiny
from seqloom.errors import UsageError
from seqloom.search import Next, greedy


def test_each_token_is_the_likeliest_one() -> None:
    model = Tiny(words=5, rows=20, seed=1)
    found = greedy(model, model.state(), model.start(), end=model.end, max_length=9)
    for row in range(20):
        text = tuple(found.tokens[row, 0, : found.lengths[row, 0]].tolist())
        for u in range(len(text) - 1):
            others = [model.score((*text[:u], other), row)[0] for other in range(5)]
            assert max(range(5), key=others.__getitem__) == text[u]
        assert text.count(model.end) == 1
        assert text[-1] == model.end
        assert (found.tokens[row, 0, len(text) :] == model.end).all()
        torch.testing.assert_close(float(found.scores[row, 0]), model.score(text, row)[0])
    assert len(set(found.lengths.flatten().tolist())) > 3, "the rows end at different steps"


def test_limits_are_kept_row_by_row() -> None:
    model = Tiny(words=5, rows=3, seed=4)
    model.logits[..., model.end] = -9.0  # it hardly ever ends by itself
    most = torch.tensor([1, 5, 3])
    found = greedy(model, model.state(), model.start(), end=model.end, max_length=most)
    assert found.lengths.squeeze(1).tolist() == [1, 5, 3]
    for row in range(3):
        text = tuple(found.tokens[row, 0, : most[row]].tolist())
        assert text[-1] == model.end
        torch.testing.assert_close(float(found.scores[row, 0]), model.score(text, row)[0])


def test_rows_that_ended_are_not_computed_any_more() -> None:
    model = Tiny(words=5, rows=30, seed=1)
    sizes = []

    def counting(tokens: torch.Tensor, state: object) -> Next:
        sizes.append(len(tokens))
        return model(tokens, state)  # type: ignore[arg-type]

    found = greedy(counting, model.state(), model.start(), end=model.end, max_length=9)
    assert sizes == [int((found.lengths > u).sum()) for u in range(len(sizes))]


def test_attention_stands_beside_its_token() -> None:
    model = Tiny(words=4, rows=6, seed=2, source=3)
    found = greedy(model, model.state(), model.start(), end=model.end, max_length=7)
    assert found.attention is not None
    for row in range(6):
        n = int(found.lengths[row, 0])
        looks = model.score(tuple(found.tokens[row, 0, :n].tolist()), row)[1]
        torch.testing.assert_close(found.attention[row, 0, :n], looks)
        assert not found.attention[row, 0, n:].any()


def test_no_rows_give_no_texts() -> None:
    model = Tiny(words=4)
    found = greedy(model, model.state(), torch.zeros(0, dtype=torch.int64), end=3, max_length=5)
    assert found.tokens.shape == (0, 1, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_length": 0}, "max_length is 0; expected 1 or more"),
        ({"max_length": torch.tensor([3, 3, 3])}, r"max_length has shape \(3,\); expected one number, or one for each"),
        ({"end": 4}, r"the end token is 4; expected one of 0\.\.3"),
    ],
)
def test_wrong_settings_are_named(change: dict[str, object], message: str) -> None:
    model = Tiny(words=4, rows=2)
    settings = {"end": 3, "max_length": 5, **change}
    with pytest.raises(UsageError, match=message):
        greedy(model, model.state(), model.start(), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (torch.tensor([[0.5, -1.0]]), r"gave 0\.5 as its largest score; expected log-probabilities"),
        (torch.tensor([[float("nan"), -1.0]]), "gave nan as its largest score"),
        (torch.zeros(2, 2), r"gave scores \(2, 2\) for 1 tokens; expected \(1, V\)"),
    ],
)
def test_what_is_no_log_probability_is_refused(scores: torch.Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        greedy(lambda tokens, state: Next(scores, state), None, torch.zeros(1, dtype=torch.int64), end=1, max_length=3)
