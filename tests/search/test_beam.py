"""Beam search against greedy search, against every text there is, and against itself alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from search.tiny import Tiny, text
from seqloom.errors import UsageError
from seqloom.search import Found, Next, beam, greedy


def run(model: Tiny, **options: Any) -> Found:
    return beam(model, model.state(), model.start(), end=model.end, **{"max_length": 5, **options})


def rank(model: Tiny, words: tuple[int, ...], length_penalty: float, coverage: float, row: int = 0) -> float:
    """The rank of a text as the docstring of `beam` says it."""
    score, looks = model.score(words, row)
    found = score / ((5 + len(words)) / 6) ** length_penalty
    if coverage:
        assert looks is not None
        found += coverage * sum(math.log(min(float(share), 1.0)) for share in looks.sum(dim=0))
    return found


@given(words=st.integers(2, 9), seed=st.integers(0, 10**6), most=st.integers(1, 8), peaked=st.sampled_from([0.3, 3.0]))
@settings(max_examples=60, deadline=None)
def test_a_beam_of_one_is_greedy(words: int, seed: int, most: int, peaked: float) -> None:
    model = Tiny(words, rows=4, seed=seed, source=2, peaked=peaked)
    one = run(model, beam_size=1, max_length=most, length_penalty=1.0)
    plain = greedy(model, model.state(), model.start(), end=model.end, max_length=most)
    for name in ("tokens", "lengths", "scores", "attention"):
        assert torch.equal(getattr(one, name), getattr(plain, name)), name


@given(
    words=st.integers(2, 4),
    seed=st.integers(0, 10**6),
    most=st.integers(1, 4),
    penalty=st.sampled_from([0.0, 0.6, 1.0, 3.0]),
    coverage=st.sampled_from([0.0, 0.3]),
)
@settings(max_examples=60, deadline=None)
def test_a_beam_wide_enough_finds_the_best_texts(
    words: int, seed: int, most: int, penalty: float, coverage: float
) -> None:
    model = Tiny(words, seed=seed, source=3)
    every = model.texts(most)
    ordered = sorted(every, key=lambda words: -rank(model, words, penalty, coverage))
    n = min(4, len(every))
    found = run(
        model,
        beam_size=len(every) * words,
        n_best=n,
        max_length=most,
        length_penalty=penalty,
        coverage=coverage,
    )
    assert [text(found, 0, k) for k in range(n)] == ordered[:n]
    for k, words_found in enumerate(ordered[:n]):
        score, looks = model.score(words_found)
        torch.testing.assert_close(float(found.scores[0, k]), score)
        torch.testing.assert_close(float(found.ranks[0, k]), rank(model, words_found, penalty, coverage))
        assert found.attention is not None
        assert looks is not None
        torch.testing.assert_close(found.attention[0, k, : len(words_found)], looks)
        assert not found.attention[0, k, len(words_found) :].any()


@given(seed=st.integers(0, 10**6), size=st.integers(2, 6), penalty=st.sampled_from([0.0, 1.0]))
@settings(max_examples=30, deadline=None)
def test_stopping_early_changes_nothing(seed: int, size: int, penalty: float) -> None:
    """Asked for all K texts, the search goes on until the last of them is certain; its first are those asked for."""
    model = Tiny(5, rows=5, seed=seed, peaked=3.0)
    short = run(model, beam_size=size, n_best=1, max_length=9, length_penalty=penalty)
    early, model.calls = model.calls, 0
    full = run(model, beam_size=size, n_best=size, max_length=9, length_penalty=penalty)
    assert early <= model.calls
    for row in range(5):
        assert text(short, row) == text(full, row)


def test_it_stops_early_at_all() -> None:
    model = Tiny(5, seed=3)
    model.logits[..., model.end] = 9.0  # the empty text is nearly certain
    run(model, beam_size=4, max_length=50)
    assert model.calls == 1


def test_a_greedy_mistake_is_mended() -> None:
    """Token 0 is likelier than 1 at first, but what follows it is not."""
    shares = torch.tensor([[0.6, 0.4, 0.0], [0.5, 0.0, 0.5], [0.0, 0.1, 0.9], [0.0, 0.0, 1.0]])
    follows = {3: 0, 0: 1, 1: 2, 2: 3}  # by the last token, 3 before the first

    def step(tokens: Tensor, state: None) -> Next:
        return Next(shares[[follows[token] for token in tokens.tolist()]].log(), state)

    start = torch.tensor([3])
    assert greedy(step, None, start, end=2, max_length=2).tokens.tolist() == [[[0, 2]]]
    found = beam(step, None, start, end=2, max_length=2, beam_size=2, n_best=2)
    assert found.tokens.tolist() == [[[1, 2], [0, 2]]]
    torch.testing.assert_close(found.scores.exp()[0], torch.tensor([0.36, 0.3]).double())


def test_rows_do_not_know_their_neighbours() -> None:
    together = Tiny(6, rows=7, seed=11, source=2)
    options = {"beam_size": 4, "n_best": 3, "length_penalty": 0.8, "coverage": 0.2}
    most = torch.tensor([1, 9, 4, 6, 9, 2, 7])
    found = run(together, max_length=most, **options)
    for row in range(7):
        own, start = together.row(row), together.start()[:1]
        alone = beam(together, own, start, end=together.end, max_length=int(most[row]), **options)
        assert [text(alone, 0, k) for k in range(3)] == [text(found, row, k) for k in range(3)]
        assert torch.equal(alone.scores[0], found.scores[row])
        assert torch.equal(alone.ranks[0], found.ranks[row])


def test_a_length_penalty_favours_longer_texts() -> None:
    model = Tiny(5, rows=40, seed=5, peaked=0.5)
    lengths = [
        float(run(model, beam_size=5, max_length=12, length_penalty=alpha).lengths.double().mean())
        for alpha in (0.0, 1.0, 4.0)
    ]
    assert lengths[0] < lengths[1] < lengths[2]


def test_texts_that_do_not_exist_have_no_score() -> None:
    model = Tiny(2, seed=0)
    found = run(model, beam_size=6, n_best=6, max_length=2)
    assert found.lengths[0].tolist()[2:] == [0, 0, 0, 0]
    assert found.scores[0, 2:].isinf().all()
    assert sorted(found.lengths[0, :2].tolist()) == [1, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 0}, r"beam_size is 0; expected 1 or more \(1 is greedy search\)"),
        ({"beam_size": -3}, "beam_size is -3"),
        ({"beam_size": 2, "n_best": 3}, r"n_best is 3; expected 1\.\.2"),
        ({"beam_size": 2, "n_best": 0}, r"n_best is 0; expected 1\.\.2"),
        ({"beam_size": 2, "length_penalty": -1.0}, r"length_penalty is -1\.0; expected 0 or more"),
        ({"beam_size": 2, "coverage": float("nan")}, "coverage is nan; expected 0 or more"),
        ({"beam_size": 2, "coverage": 0.1}, r"coverage is 0\.1, but the model gives no attention"),
        ({"beam_size": 2, "max_length": 0}, "max_length is 0"),
    ],
)
def test_wrong_settings_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(Tiny(4), **options)
