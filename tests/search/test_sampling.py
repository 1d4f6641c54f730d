"""Sampling: the model's own shares, cut as asked; a row's text belongs to its seed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from search.tiny import Tiny
from seqloom.errors import UsageError
from seqloom.search import Found, Next, greedy, sample

SHARES = torch.tensor([0.5, 0.3, 0.15, 0.05])


def first_tokens(count: int = 4000, **options: Any) -> torch.Tensor:
    """(4,) how often each token came first, of a model that always says SHARES."""

    def step(tokens: torch.Tensor, state: None) -> Next:
        return Next(SHARES.log().expand(len(tokens), 4), state)

    found = sample(
        step, None, torch.zeros(count, dtype=torch.int64), end=3, max_length=2, seeds=range(count), **options
    )
    return torch.bincount(found.tokens[:, 0, 0], minlength=4) / count


def run(model: Tiny, **options: Any) -> Found:
    settings: dict[str, Any] = {"max_length": 8, "seeds": range(len(model.logits)), **options}
    return sample(model, model.state(), model.start(), end=model.end, **settings)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, SHARES),
        ({"temperature": 0.5}, SHARES**2 / (SHARES**2).sum()),
        ({"top_k": 2}, torch.tensor([0.625, 0.375, 0, 0])),
        ({"top_p": 0.5}, torch.tensor([1.0, 0, 0, 0])),
        ({"top_p": 0.7}, torch.tensor([0.625, 0.375, 0, 0])),
        ({"top_p": 0.9, "top_k": 3}, torch.tensor([0.5, 0.3, 0.15, 0]) / 0.95),
    ],
)
def test_tokens_come_as_often_as_they_should(options: dict[str, Any], expected: torch.Tensor) -> None:
    # Four deviations of a share of one half over 4000 draws.
    torch.testing.assert_close(first_tokens(**options), expected, atol=4 * (0.25 / 4000) ** 0.5, rtol=0)
    assert not first_tokens(**options)[expected == 0].any()


def test_the_likeliest_token_alone_is_greedy() -> None:
    model = Tiny(6, rows=9, seed=3)
    plain = greedy(model, model.state(), model.start(), end=model.end, max_length=8)
    for options in ({"top_k": 1}, {"temperature": 1e-4}, {"top_p": 1e-9}):
        assert torch.equal(run(model, **options).tokens, plain.tokens)


def test_a_text_belongs_to_its_seed() -> None:
    model = Tiny(6, rows=9, seed=3, peaked=0.5)
    found = run(model)
    assert torch.equal(found.tokens, run(model).tokens)
    assert not torch.equal(found.tokens, run(model, seeds=range(100, 109)).tokens)
    row = 5
    state = model.state()
    own = state._replace(
        seen=state.seen[row : row + 1], table=state.table[row : row + 1], more={"deep": (torch.tensor([[row]]), None)}
    )
    alone = sample(model, own, model.start()[:1], end=model.end, max_length=20, seeds=[row])
    n = int(found.lengths[row, 0])
    assert torch.equal(alone.tokens[0, 0, : n - 1], found.tokens[row, 0, : n - 1])


def test_the_score_is_the_models_own() -> None:
    model = Tiny(6, rows=9, seed=3)
    found = run(model, temperature=2.0, top_k=3, repetition_penalty=1.5)
    for row in range(9):
        text = tuple(found.tokens[row, 0, : found.lengths[row, 0]].tolist())
        torch.testing.assert_close(float(found.scores[row, 0]), model.score(text, row)[0])


def _runs(found: Found, row: int, size: int) -> list[tuple[int, ...]]:
    text = found.tokens[row, 0, : found.lengths[row, 0]].tolist()
    return [tuple(text[k : k + size]) for k in range(len(text) - size + 1)]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_no_run_occurs_twice(size: int) -> None:
    model = Tiny(30, rows=40, seed=7, peaked=0.1)
    model.logits[..., model.end] = -9.0
    model.logits[..., 4] = 3.0  # it likes to say the same again
    free, kept = run(model, max_length=12), run(model, max_length=12, no_repeat=size)
    assert any(len(set(_runs(free, row, size))) < len(_runs(free, row, size)) for row in range(40))
    for row in range(40):
        assert len(set(_runs(kept, row, size))) == len(_runs(kept, row, size))


def test_a_repetition_penalty_makes_repetition_rarer() -> None:
    model = Tiny(12, rows=60, seed=7, peaked=0.1)
    model.logits[..., model.end] = -9.0
    model.logits[..., 4] = 3.0

    def repeats(penalty: float) -> int:
        found = run(model, max_length=12, repetition_penalty=penalty)
        return sum(len(_runs(found, row, 1)) - len(set(_runs(found, row, 1))) for row in range(60))

    assert repeats(1.0) > repeats(2.0) + 40 > repeats(20.0) + 200


def test_a_row_without_a_way_out_goes_on() -> None:
    model = Tiny(2, rows=1, seed=0)
    model.logits[..., 0] = 5.0
    found = run(model, max_length=9, no_repeat=1)
    assert found.lengths[0, 0] == 2, "having said its only word, it must end"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, r"temperature is 0\.0; expected a number above 0 \(for the likeliest token, top_k=1\)"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_k": 0}, "top_k is 0; expected 1 or more"),
        ({"top_p": 0.0}, r"top_p is 0\.0; expected a share above 0 and at most 1"),
        ({"top_p": 1.5}, r"top_p is 1\.5"),
        ({"repetition_penalty": 0.5}, r"repetition_penalty is 0\.5; expected 1 or more"),
        ({"no_repeat": 0}, "no_repeat is 0; expected a run of 1 token or more"),
        ({"seeds": [1]}, "got 1 seeds for 2 rows"),
        ({"max_length": 0}, "max_length is 0"),
    ],
)
def test_wrong_settings_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(Tiny(4, rows=2), **options)
