"""Control of repetition in every search: against a plain reading of its rule, and against every text there is."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from search.tiny import Tiny, text
from seqloom.errors import UsageError
from seqloom.search import Found, beam, greedy
from seqloom.search.repetition import hold_back

Words = tuple[int, ...]


def left_of(score: float, token: int, past: Words, penalty: float, run: int | None) -> float:
    """The rule for one token after one text, as the docstring of `hold_back` says it."""
    if run and (*past, token)[-run:] in [past[k : k + run] for k in range(len(past) - run + 1)]:
        return -math.inf
    return score * penalty if token in past else score


def wanted(model: Tiny, words: Words, penalty: float, run: int | None) -> float:
    """What a whole text competes by, token by token."""
    total = 0.0
    for u, token in enumerate(words):
        score = model.score(words[: u + 1])[0] - (model.score(words[:u])[0] if u else 0.0)
        total += left_of(score, token, words[:u], penalty, run)
    return total


def talkative(words: int, rows: int, seed: int) -> Tiny:
    """One that likes its token 1 best, and to go on."""
    model = Tiny(words, rows=rows, seed=seed, peaked=1.0)
    model.logits[..., 1] += 4
    model.logits[..., model.end] -= 2
    return model


PENALTIES, RUNS = st.sampled_from([1.0, 1.3, 4.0]), st.sampled_from([None, 1, 2, 3])


@given(seed=st.integers(0, 10**6), u=st.integers(0, 9), penalty=PENALTIES, run=RUNS)
@settings(max_examples=60, deadline=None)
def test_each_token_is_held_back_by_the_rule(seed: int, u: int, penalty: float, run: int | None) -> None:
    torch.manual_seed(seed)
    scores, past = torch.log_softmax(torch.randn(5, 4, dtype=torch.float64), dim=1), torch.randint(0, 3, (5, u))
    before = scores.clone()
    found = hold_back(scores, past, repetition_penalty=penalty, no_repeat=run)
    for row in range(5):
        expected = [
            left_of(float(scores[row, token]), token, tuple(past[row].tolist()), penalty, run) for token in range(4)
        ]
        torch.testing.assert_close(found[row], torch.tensor(expected).double())
    assert torch.equal(scores, before), "what was passed in is left as it was"


@given(
    words=st.integers(2, 9),
    seed=st.integers(0, 10**6),
    most=st.integers(1, 9),
    penalty=PENALTIES,
    run=RUNS,
)
@settings(max_examples=60, deadline=None)
def test_a_beam_of_one_is_greedy(words: int, seed: int, most: int, penalty: float, run: int | None) -> None:
    model = talkative(words, 4, seed)
    options: dict[str, Any] = {"max_length": most, "repetition_penalty": penalty, "no_repeat": run}
    one = beam(model, model.state(), model.start(), end=model.end, beam_size=1, length_penalty=1.0, **options)
    plain = greedy(model, model.state(), model.start(), end=model.end, **options)
    for name in ("tokens", "lengths", "scores"):
        assert torch.equal(getattr(one, name), getattr(plain, name)), name


@given(seed=st.integers(0, 10**6), length_penalty=st.sampled_from([0.0, 1.0]), penalty=PENALTIES, run=RUNS)
@settings(max_examples=40, deadline=None)
def test_a_beam_wide_enough_finds_the_best_that_may_be_said(
    seed: int, length_penalty: float, penalty: float, run: int | None
) -> None:
    model = talkative(4, 1, seed)
    ranks = {
        words: wanted(model, words, penalty, run) / ((5 + len(words)) / 6) ** length_penalty for words in model.texts(4)
    }
    allowed = sorted((words for words in ranks if ranks[words] > -math.inf), key=lambda words: -ranks[words])
    found = beam(
        model,
        model.state(),
        model.start(),
        end=model.end,
        max_length=4,
        beam_size=4 * len(ranks),
        n_best=len(ranks),
        length_penalty=length_penalty,
        repetition_penalty=penalty,
        no_repeat=run,
    )
    assert int((found.lengths > 0).sum()) == len(allowed), "what is forbidden is not found"
    for k, words in enumerate(allowed):
        assert text(found, 0, k) == words
        torch.testing.assert_close(float(found.ranks[0, k]), ranks[words])
        torch.testing.assert_close(float(found.scores[0, k]), model.score(words)[0])
    assert found.scores[0, len(allowed) :].isinf().all()


@pytest.mark.parametrize("run", [1, 2, 3])
def test_no_run_stands_twice_in_any_text_of_a_beam(run: int) -> None:
    model = talkative(30, 12, 7)

    def most_often(found: Found) -> int:
        runs = [
            [words[k : k + run] for k in range(len(words) - run + 1)]
            for row in range(12)
            for words in [text(found, row, place) for place in range(3)]
        ]
        return max(run_of.count(words) for run_of in runs for words in run_of)

    options: dict[str, Any] = {"end": model.end, "max_length": 12, "beam_size": 4, "n_best": 3, "length_penalty": 2.0}
    assert most_often(beam(model, model.state(), model.start(), **options)) > 1
    assert most_often(beam(model, model.state(), model.start(), no_repeat=run, **options)) == 1


def test_rows_do_not_know_their_neighbours() -> None:
    model = talkative(6, 7, 11)
    most = torch.tensor([1, 9, 4, 6, 9, 2, 7])
    options: dict[str, Any] = {"end": model.end, "repetition_penalty": 1.5, "no_repeat": 2}
    wide: dict[str, Any] = {"beam_size": 4, "n_best": 3, "length_penalty": 0.8}
    found = beam(model, model.state(), model.start(), max_length=most, **wide, **options)
    plain = greedy(model, model.state(), model.start(), max_length=most, **options)
    for row in range(7):
        own = model.row(row)
        alone = beam(model, own, model.start()[:1], max_length=int(most[row]), **wide, **options)
        assert [text(alone, 0, k) for k in range(3)] == [text(found, row, k) for k in range(3)]
        assert torch.equal(alone.ranks[0], found.ranks[row])
        assert text(greedy(model, own, model.start()[:1], max_length=int(most[row]), **options), 0) == text(plain, row)


@pytest.mark.parametrize("search", [greedy, lambda *given, **options: beam(*given, beam_size=2, **options)])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repetition_penalty": 0.5}, r"repetition_penalty is 0\.5; expected 1 or more, and 1 for none"),
        ({"repetition_penalty": float("nan")}, "repetition_penalty is nan"),
        ({"no_repeat": 0}, "no_repeat is 0; expected a run of 1 token or more, or None for no such rule"),
    ],
)
def test_wrong_settings_are_named(search: Any, options: dict[str, Any], message: str) -> None:
    model = Tiny(4)
    with pytest.raises(UsageError, match=message):
        search(model, model.state(), model.start(), end=3, max_length=5, **options)
