"""Mean and standard deviation of each column of the training part."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]


class Standard(NamedTuple):
    """mean and deviation of each column, (F,); deviation above zero."""

    mean: Matrix
    deviation: Matrix

    @classmethod
    def fit(cls, values: Matrix) -> Standard:
        """From (N, F) with NaN where missing; a column without spread or values keeps its units."""
        observed = ~np.isnan(values)
        count = np.maximum(observed.sum(axis=0), 1)
        mean = np.where(observed, values, 0.0).sum(axis=0) / count
        squares = np.where(observed, (values - mean) ** 2, 0.0).sum(axis=0) / count
        deviation = np.sqrt(squares)
        return cls(mean, np.where(deviation > 1e-12 * np.maximum(np.abs(mean), 1e-300), deviation, 1.0))

    def apply(self, values: Matrix) -> Matrix:
        """(N, F) to zero mean and unit deviation."""
        return (values - self.mean) / self.deviation

    def to_json(self) -> dict[str, Any]:
        """Two lists of F numbers."""
        return {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Standard:
        """What `to_json` gave."""
        return cls(np.asarray(document["mean"], np.float64), np.asarray(document["deviation"], np.float64))
