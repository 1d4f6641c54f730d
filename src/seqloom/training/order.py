"""Which examples each step reads: a function of the seed and the step alone, so that resuming needs no state."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt


def rows_of_step(count: int, batch_size: int, seed: int, step: int) -> npt.NDArray[np.int64]:
    """The `batch_size` rows of step 0, 1, ..., out of `count`.

    Epochs are permutations laid end to end, and a batch may reach from one into the next: every row is read
    equally often, and no batch is smaller than the others.
    """
    places = step * batch_size + np.arange(batch_size, dtype=np.int64)
    epochs, within = places // count, places % count
    rows = np.empty(batch_size, np.int64)
    for epoch in np.unique(epochs).tolist():
        chosen = epochs == epoch
        rows[chosen] = permutation(count, seed, epoch)[within[chosen]]
    return rows


@lru_cache(maxsize=4)
def permutation(count: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """The order of an epoch: the numbers below `count`, shuffled."""
    return np.random.default_rng([seed, epoch]).permutation(count)
