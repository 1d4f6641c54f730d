"""`Metric`: a computation together with the sentence that defines it, and the receipt of both.

Two numbers may be compared when their receipts are equal. The receipt holds a hash over the definition
and the source code of the computation, so neither can change without the receipt changing.

Every metric here is a function of sums over rows: `sums` adds up whatever the metric needs, `finish`
turns the sums into the value. Sums over any set of rows (all, one series, one step, a bootstrap
resample) then give the metric of that set by the same code.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from seqloom.metrics.groups import Floats, Groups

Rows = TypeVar("Rows")
Better = Literal["lower", "higher", "zero", "nominal"]
TARGET_UNIT = "unit of y"


@dataclass(frozen=True)
class Metric(Generic[Rows]):
    """One metric of rows of type `Rows`.

    Attributes:
        name: as shown and as used for keys (`MAE`, `coverage-80`).
        unit: `TARGET_UNIT` for the target's own unit, `%`, or "" for a plain ratio.
        better: `lower`, `higher`, `zero` (nearest to zero) or `nominal` (nearest to the stated level).
        definition: one exact sentence: formula, aggregation, treatment of missing values.
        sums: (rows, groups) → (G, k) sums over each of the G groups.
        finish: (..., k) sums → (...) values, NaN where undefined.
        version: raised when the meaning changes in a way that neither text nor code here shows.
    """

    name: str
    unit: str
    better: Better
    definition: str
    sums: Callable[[Rows, Groups], Floats]
    finish: Callable[[Floats], Floats]
    version: int = 1

    @property
    def receipt(self) -> str:
        """`NAME|definition|sha:xxxxxxxx`, equal exactly when definition and computation are."""
        parts = [self.name, str(self.version), self.definition, _source(self.sums), _source(self.finish)]
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        return f"{self.name}|{self.definition}|sha:{digest[:8]}"


def ratio(sums: Floats) -> Floats:
    """First sum over second sum, NaN where the second is zero."""
    top, bottom = sums[..., 0], sums[..., 1]
    return np.asarray(np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom != 0))


def percent(sums: Floats) -> Floats:
    """100 × first sum over second sum."""
    return 100 * ratio(sums)


def root_ratio(sums: Floats) -> Floats:
    """Square root of first sum over second sum."""
    return np.asarray(np.sqrt(ratio(sums)))


def _source(function: Callable[..., Any]) -> str:
    """Source text of a function; a `partial` counts as its function and arguments."""
    if isinstance(function, partial):
        return f"{inspect.getsource(function.func)}{function.args}{sorted(function.keywords.items())}"
    return inspect.getsource(function)
