"""One number of the training targets, said of every example: their mean, or their median."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from seqloom.errors import DataError
from seqloom.rivals.rival import Floats


class Constant(NamedTuple):
    """A statistic of the training targets: the mean is best in squared error, the median in absolute error."""

    name: str
    statistic: Callable[[Floats], np.floating]

    def predict(self, y: Floats, *, count: int) -> Floats:
        """(count,) copies of the statistic of the finite values of `y`.

        Raises:
            DataError: no value is finite.
        """
        finite = y[np.isfinite(y)]
        if not finite.size:
            raise DataError(f"the {self.name} rival found no finite number among {len(y)} training targets.")
        return np.full(count, self.statistic(finite))


CONSTANTS = (Constant("mean", np.mean), Constant("median", np.median))
