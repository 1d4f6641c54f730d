"""Where the truth stands among the candidates, and the list of the likeliest ones.

The rank is 1 + candidates with a higher score + half of those with the same score as the truth. So a constant score
puts the truth in the middle, and no order of equal items flatters anyone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import pad

# Bytes of scores that are ranked together. Ranking takes tables of the same size and larger, one after the other; small
# ones stay in fast memory, while the system takes large ones back each time, and clears the next.
BYTES_AT_ONCE = 2_000_000
UNKNOWN = -1  # code of a truth that is no candidate, since training never shows it: it ranks behind all of them


class Ranked(NamedTuple):
    """What n lists say.

    Attributes:
        rank: (n,) of the truth among all candidates; NaN where no truth is known.
        candidates: (n,) how many there are, the truth included.
        log_p: (n,) ln of the probability given to the truth; NaN where there is no such probability.
        items: (n, k) codes of the likeliest, falling.
        p: (n, k) their probabilities among all candidates.
    """

    rank: Tensor
    candidates: Tensor
    log_p: Tensor
    items: Tensor
    p: Tensor


def rows_at_once(items: int) -> int:
    """How many rows of scores of so many items are ranked together."""
    return max(1, BYTES_AT_ONCE // (4 * items))


def rank(scores: Tensor, truth: Tensor, top: int, barred: Tensor | None = None) -> Ranked:
    """Rank the truth of each row, and list the `top` candidates.

    Args:
        scores: (n, V), those of a softmax or logarithms of probabilities; overwritten where items are barred.
        truth: (n,) codes; `UNKNOWN`, or below that where there is no truth at all.
        top: length k of the lists; where fewer items can be answered the rest has probability 0.
        barred: (n, L) codes that are no candidates, below 0 for none; a truth among them stays one.
    """
    V, known = scores.shape[1], truth >= 0
    own = scores.gather(1, truth.clamp(min=0).unsqueeze(1))
    if barred is not None:
        rows, places = (barred >= 0).nonzero(as_tuple=True)
        scores[rows, barred[rows, places]] = -torch.inf
        scores[known, truth[known]] = own[known, 0]
    candidates = V - torch.isneginf(scores).sum(dim=1)
    log_sum = scores.logsumexp(dim=1, keepdim=True)
    best = scores.topk(min(top, V), dim=1)
    beyond = (0, max(top - V, 0))
    found = torch.where(known, _place(scores, own), candidates + 1.0)
    return Ranked(
        torch.where(truth >= UNKNOWN, found, torch.nan),
        candidates + (truth == UNKNOWN),
        torch.where(known, (own - log_sum).squeeze(1).double(), torch.nan),
        pad(best.indices, beyond),
        pad((best.values - log_sum).exp(), beyond),
    )


def rank_among(scores: Tensor, truth: Tensor, others: Tensor) -> Tensor:
    """(n,) rank of each truth, which must be known, among itself and some drawn items (n, M)."""
    own = scores.gather(1, truth.unsqueeze(1))
    return _place(torch.cat([own, scores.gather(1, others)], dim=1), own)


def draw_others(key: int, count: int, items: int, held: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """`count` different items out of `items` that are not among those `held`, drawn uniformly by `key` alone.

    Raises:
        ValueError: there are not so many.
    """
    free = items - len(np.unique(held[held >= 0]))
    if count > free:
        raise ValueError(f"{count} items are to be drawn, but only {free} of {items} are not held")
    random = np.random.default_rng([0, key])
    drawn = np.zeros(0, np.int64)
    while len(drawn) < count:
        fresh = random.integers(0, items, 2 * count)
        drawn = np.concatenate([drawn, fresh[~np.isin(fresh, held)]])
        drawn = drawn[np.sort(np.unique(drawn, return_index=True)[1])]
    return drawn[:count]


def _place(scores: Tensor, own: Tensor) -> Tensor:
    """(n,) 1 + higher + half of the equal ones, `own` itself left out."""
    equal = (scores == own).sum(dim=1) - 1
    return 1.0 + (scores > own).sum(dim=1).double() + 0.5 * equal.double()
