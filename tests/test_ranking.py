"""Ranks, lists and drawn items, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqloom.ranking import UNKNOWN, draw_others, rank, rank_among

SCORES = torch.tensor([[3.0, 1.0, 2.0, 1.0]])


def ranked(truth: int, **more: object) -> float:
    return float(rank(SCORES.clone(), torch.tensor([truth]), 2, **more).rank)  # type: ignore[arg-type]


def test_ties_count_half() -> None:
    assert [ranked(k) for k in range(4)] == [1, 3.5, 2, 3.5]
    assert float(rank(torch.zeros(1, 5), torch.tensor([2]), 1).rank) == 3


def test_an_unknown_truth_ranks_behind_all_and_no_truth_has_no_rank() -> None:
    unknown = rank(SCORES.clone(), torch.tensor([UNKNOWN]), 2)
    assert (float(unknown.rank), int(unknown.candidates)) == (5, 5)
    assert unknown.log_p.isnan().all()
    nothing = rank(SCORES.clone(), torch.tensor([-2]), 2)
    assert nothing.rank.isnan().all()
    assert int(nothing.candidates) == 4


def test_lists_and_probabilities() -> None:
    found = rank(SCORES.clone(), torch.tensor([2]), 3)
    p = torch.softmax(SCORES, dim=1)[0]
    assert found.items[0, :2].tolist() == [0, 2]
    torch.testing.assert_close(found.p[0, :2], p[[0, 2]])
    assert float(found.log_p) == pytest.approx(float(p[2].log()))
    longer = rank(SCORES.clone(), torch.tensor([2]), 6)
    assert longer.p[0, 4:].tolist() == [0, 0]


def test_barred_items_are_no_candidates_but_the_truth_stays_one() -> None:
    assert ranked(2, barred=torch.tensor([[0, -2]])) == 1
    found = rank(SCORES.clone(), torch.tensor([2]), 4, torch.tensor([[0, 2]]))
    assert (float(found.rank), int(found.candidates)) == (1, 3)
    assert found.items[0, 0] == 2
    assert float(found.p[0, :3].sum()) == pytest.approx(1)
    assert float(found.p[0, 3]) == 0
    assert float(rank(SCORES.clone(), torch.tensor([UNKNOWN]), 2, torch.tensor([[0, 1]])).rank) == 3


def test_rank_among_drawn_items() -> None:
    assert float(rank_among(SCORES, torch.tensor([1]), torch.tensor([[0, 3]]))) == 2.5
    assert float(rank_among(SCORES, torch.tensor([2]), torch.tensor([[1, 3]]))) == 1


def test_draws_are_different_not_held_and_a_matter_of_the_key() -> None:
    held = np.array([3, 4, 4, -1, -2])
    drawn = draw_others(7, 8, 10, held)
    assert sorted(drawn.tolist()) == [0, 1, 2, 5, 6, 7, 8, 9]
    assert draw_others(7, 8, 10, held).tolist() == drawn.tolist()
    assert draw_others(8, 8, 10, held).tolist() != drawn.tolist()
    counts = np.bincount(np.concatenate([draw_others(k, 2, 6, np.array([0])) for k in range(3000)]), minlength=6)
    assert counts[0] == 0
    assert counts[1:].min() > 1100
    with pytest.raises(ValueError, match="9 items are to be drawn, but only 8 of 10 are not held"):
        draw_others(0, 9, 10, held)
