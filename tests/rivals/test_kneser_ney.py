"""The n-gram rival against the formula, and popularity."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from seqloom.rivals.kneser_ney import KneserNey
from seqloom.rivals.popularity import Popularity

V = 4
TEXT = np.array([0, 1, 0, 2, 0, 1, 3, 0, 1, 0, 0, 2])


def histories(text: np.ndarray, width: int) -> np.ndarray:
    padded = np.concatenate([np.full(width, V), text])
    return np.stack([padded[k : k + len(text)] for k in range(width)], axis=1)


def discount(counts: Counter[tuple[int, ...]]) -> float:
    once, twice = (sum(c == k for c in counts.values()) for k in (1, 2))
    return once / (once + 2 * twice) if once else 0.5


def by_formula(word: int, before: int) -> float:
    """Order 2, from dictionaries."""
    pairs = Counter(zip([V, *TEXT[:-1].tolist()], TEXT.tolist(), strict=True))
    preceding: Counter[tuple[int, ...]] = Counter((w,) for _, w in pairs)
    D1, D2 = discount(preceding), discount(pairs)
    types = sum(preceding.values())
    short = max(preceding[(word,)] - D1, 0) / types + D1 * len(preceding) / types / V
    total = sum(c for (u, _), c in pairs.items() if u == before)
    if not total:
        return short
    kinds = sum(u == before for u, _ in pairs)
    return max(pairs[(before, word)] - D2, 0) / total + D2 * kinds / total * short


def test_order_two_is_the_formula() -> None:
    model = KneserNey(histories(TEXT, 1), TEXT, V)
    found = model.scores(np.array([[0], [1], [V], [-1]])).exp()
    expected = [[by_formula(w, u) for w in range(V)] for u in (0, 1, V, 99)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("order", [2, 3, 5])
def test_probabilities_sum_to_one(order: int) -> None:
    random = np.random.default_rng(order)
    text = random.integers(0, V, 200)
    model = KneserNey(histories(text, order - 1), text, V)
    before = random.integers(-1, V + 1, (50, order - 1))
    torch.testing.assert_close(model.scores(before).exp().sum(dim=1), torch.ones(50), rtol=0, atol=1e-5)


def test_longer_contexts_learn_what_shorter_ones_cannot() -> None:
    """The next of 0 1 0 2 0 1 0 2 ... after a 0 is known only from what stood before it."""
    text = np.tile([0, 1, 0, 2], 50)
    short, long = (KneserNey(histories(text, n), text, V).scores(np.array([[1, 0]])[:, 2 - n :]).exp() for n in (1, 2))
    assert abs(float(short[0, 2]) - 0.5) < 0.05
    assert float(long[0, 2]) > 0.95


def test_popularity_is_the_share_whatever_was_read() -> None:
    found = Popularity(np.array([0, 0, 0, 1, -1, -2]), 2).scores(np.zeros((2, 1), np.int64)).exp()
    torch.testing.assert_close(found, torch.tensor([[0.75, 0.25]] * 2))
