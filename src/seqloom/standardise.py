"""Mean and standard deviation of each column of the training part."""

from __future__ import annotations

import math
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


def as_matrix(values: npt.NDArray[np.generic]) -> Matrix:
    """Numbers as (N, F), N of 0 included, for which NumPy cannot tell F by itself."""
    return values.astype(np.float64).reshape(len(values), math.prod(values.shape[1:]))


class Standardised:
    """What an input or an output of numbers learns from the training part: mean and deviation of each column."""

    standard: Standard

    def fit(self, values: npt.NDArray[np.generic]) -> None:
        """Mean and deviation of each column, missing values left out."""
        self.standard = Standard.fit(as_matrix(values))

    def fitted(self) -> dict[str, Any]:
        """Mean and deviation."""
        return self.standard.to_json()

    def restore(self, fitted: dict[str, Any]) -> None:
        """Mean and deviation."""
        self.standard = Standard.from_json(fitted)
