"""Popularity: every list is that of the most frequent items of the training part."""

from __future__ import annotations

import torch
from torch import Tensor

from seqloom.rivals.rival import Codes


class Popularity:
    """Shares of the items among all that the training part holds.

    Args:
        items: (N,) codes from 0, below 0 for none.
        count: how many items there are.
    """

    name = "popularity"

    def __init__(self, items: Codes, count: int) -> None:
        held = torch.from_numpy(items[items >= 0])
        times = torch.bincount(held, minlength=count).float()
        self.log_p = (times / times.sum()).log()

    def scores(self, history: Codes) -> Tensor:
        """(n, V) ln p; the history (n, L) is not looked at."""
        return self.log_p.expand(len(history), -1).clone()
