"""Median: the median of the training targets, said of every example."""

from __future__ import annotations

import numpy as np

from seqloom.errors import DataError
from seqloom.rivals.rival import Floats


class Median:
    """The constant that is best in absolute error (MAE)."""

    def available(self) -> str | None:
        """Always available."""
        return None

    def predict(self, y: Floats, *, count: int) -> Floats:
        """(count,) copies of the median of the finite values of `y`.

        Raises:
            DataError: no value is finite.
        """
        finite = y[np.isfinite(y)]
        if not finite.size:
            raise DataError(f"the median rival found no finite number among {len(y)} training targets.")
        return np.full(count, np.median(finite))
