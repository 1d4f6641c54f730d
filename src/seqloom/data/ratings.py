"""What can be wrong with ratings of which the next one is asked about."""

from __future__ import annotations

from collections import Counter

import numpy as np

from seqloom.data.items import check_lengths
from seqloom.data.ledger import Ledger
from seqloom.data.segments import Segments
from seqloom.data.splits import ExampleSplit

SCALE = 20  # ratings that differ at most, where they are grades on a scale


def check_ratings(segments: Segments, name: str, split: ExampleSplit, ledger: Ledger) -> None:
    """Enter sequences that ask nothing, grades that the training part never gives, and zeros that may be none."""
    ratings = np.asarray(segments.steps.get(name, np.empty(0)), np.float64)
    owner = np.repeat(np.arange(len(segments), dtype=np.int64), segments.lengths)
    check_lengths(segments, name, ledger)
    trained = split.part[owner] == "train"
    seen = np.unique(ratings[trained & ~np.isnan(ratings)])
    if not 2 <= len(seen) <= SCALE:
        return
    scale = ", ".join(f"{grade:g}" for grade in seen)
    odd = np.flatnonzero(~np.isnan(ratings) & ~np.isin(ratings, seen))
    if odd.size:
        said = ", ".join(f"{grade:g} ({count})" for grade, count in Counter(ratings[odd].tolist()).most_common(5))
        row = int(owner[odd[0]]) + 1
        message = (
            f"column '{name}' has ratings that the train part never gives: {said}, first in {ledger.at(row)}; there "
            f"the grades are {scale}. Check their scale."
        )
        ledger.add("warning", "odd-rating", message, column=name, row=row, count=int(odd.size))
    zeros = np.flatnonzero(ratings == 0)
    if seen[0] == 0 and seen[1] == 1 and len(seen) > 2:
        row = int(owner[zeros[0]]) + 1
        message = (
            f"column '{name}' has {zeros.size} ratings of 0, first in {ledger.at(row)}, and the other grades begin at "
            "1: if 0 stands for no rating, leave the cell empty (null), since it counts as a rating here."
        )
        ledger.add("warning", "zero-rating", message, column=name, row=row, count=int(zeros.size))
