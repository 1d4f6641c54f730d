"""The word-for-word dictionary: it finds a made-up one again, and follows the equations of model 1."""

from __future__ import annotations

import numpy as np

from seqloom.rivals.copy import Copy
from seqloom.rivals.dictionary import ROUNDS, Dictionary

WORDS = {f"e{k}": f"f{k}" for k in range(30)}


def test_a_made_up_dictionary_is_found_again() -> None:
    random = np.random.default_rng(0)
    sources = [" ".join(random.choice(list(WORDS), random.integers(2, 7))) for _ in range(300)]
    targets = [" ".join(random.permutation([WORDS[word] for word in source.split()])) for source in sources]
    found = Dictionary.fit(sources, targets)
    assert {word: found.words[word] for word in WORDS} == WORDS
    assert found.write(["e3 e1", "", "e2 unheard"]) == ["f3 f1", "", "f2 unheard"]


def test_probabilities_are_those_of_the_paper() -> None:
    """The textbook's example, by a plain implementation with dictionaries."""
    sources, targets = ["the house", "the book", "a book"], ["das Haus", "das Buch", "ein Buch"]
    pairs = [(["", *s.split()], t.split()) for s, t in zip(sources, targets, strict=True)]
    t = {(e, f): 1.0 for es, fs in pairs for e in es for f in fs}
    for _ in range(ROUNDS):
        expected = dict.fromkeys(t, 0.0)
        for es, fs in pairs:
            for f in fs:
                total = sum(t[e, f] for e in es)
                for e in es:
                    expected[e, f] += t[e, f] / total
        mass = {e: sum(v for (other, _), v in expected.items() if other == e) for e, _ in t}
        t = {(e, f): value / mass[e] for (e, f), value in expected.items()}
    best = {e: max((f for other, f in t if other == e), key=lambda f, e=e: t[e, f]) for e, _ in t}  # type: ignore[misc]
    assert Dictionary.fit(sources, targets).words == best
    assert best["house"] == "Haus"


def test_without_texts_there_is_nothing_to_say() -> None:
    assert Dictionary.fit([], []).write(["a b"]) == ["a b"]
    assert Dictionary.fit(["a"], [""]).write(["a b"]) == ["a b"]
    assert Copy().write(["a b"]) == ["a b"]
