"""What can be wrong with sequences whose next item is asked for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seqloom.data.columns import Texts
from seqloom.data.ledger import Ledger
from seqloom.data.segments import Segments
from seqloom.data.splits import ExampleSplit


def check_items(segments: Segments, name: str, split: ExampleSplit, ledger: Ledger) -> None:
    """Enter sequences that ask for nothing, and items that no training can teach."""
    items = np.asarray(segments.steps.get(name, np.empty(0, object)), dtype=object)
    owner = np.repeat(np.arange(len(segments), dtype=np.int64), segments.lengths)
    check_lengths(segments, name, ledger)
    _check_taught(name, items, owner, split.part[owner] == "train", segments, ledger)


def check_lengths(segments: Segments, name: str, ledger: Ledger) -> None:
    """Enter sequences of one item, and of none."""
    single = np.flatnonzero(segments.lengths == 1) + 1
    if single.size:
        message = (
            f"column '{name}' has {single.size} sequences of one item: {ledger.at_rows(single)}; they have no next "
            "item, so they are neither learned from nor scored."
        )
        ledger.add("warning", "single-item", message, column=name, row=int(single[0]), count=int(single.size))
    empty = np.flatnonzero(segments.lengths == 0) + 1
    if empty.size:
        message = (
            f"column '{name}' has {empty.size} sequences without any item: {ledger.at_rows(empty)}; they are answered "
            "by what is popular."
        )
        ledger.add("note", "no-item", message, column=name, row=int(empty[0]), count=int(empty.size))


def _check_taught(
    name: str,
    items: Texts,
    owner: npt.NDArray[np.int64],
    trained: npt.NDArray[np.bool_],
    segments: Segments,
    ledger: Ledger,
) -> None:
    """Items that are asked for outside the training part, which never shows them."""
    seen = set(items[trained])
    asked = np.arange(len(items)) > segments.offsets[owner]
    present = np.array([item is not None for item in items], dtype=bool)
    untaught = [int(k) for k in np.flatnonzero(asked & present & ~trained) if items[k] not in seen]
    if untaught:
        first = untaught[0]
        message = (
            f"column '{name}' asks {len(untaught)} times for items that the train part never shows, first for "
            f"'{items[first]}' in {ledger.at(int(owner[first]) + 1)}; they cannot be answered and count as missed."
        )
        ledger.add("warning", "untaught-item", message, column=name, row=int(owner[first]) + 1, count=len(untaught))
