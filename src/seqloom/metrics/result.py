"""`Result`: the metrics of one answer with intervals, by series and by step, and its JSON shape."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import numpy as np

from seqloom.metrics.bootstrap import percentile_interval, resample_sums
from seqloom.metrics.groups import Floats, Groups
from seqloom.metrics.receipt import TARGET_UNIT, Metric

Rows = TypeVar("Rows")
Table = Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True)
class Value:
    """One metric: value, 95 % interval over whole windows, receipt. None stands for undefined."""

    value: float | None
    lo: float | None
    hi: float | None
    receipt: str
    unit: str
    better: str


@dataclass(frozen=True)
class Result:
    """All metrics of one answer.

    Attributes:
        metrics: overall values by metric name.
        windows: number of resampled units: forecast windows, examples or sequences.
        series: values by series id, without intervals.
        steps: values by step ahead ("1" is the first), without intervals.
        confusion: `{"labels": [...], "counts": [[...]]}`, row = true label, column = predicted label.
        reliability: rows of stated probability, share that held, and count, by rising probability.
        labels: for answers of several labels at once, by label how often it is true, answered, and both.
    """

    metrics: Mapping[str, Value]
    windows: int
    series: Table = field(default_factory=dict)
    steps: Table = field(default_factory=dict)
    confusion: Mapping[str, Any] | None = None
    reliability: Sequence[Mapping[str, Any]] = ()
    labels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain dict for `metrics.json`; what only some answers have, only where it is there."""
        shape = asdict(self)
        for name in ("confusion", "reliability", "labels"):
            if not shape[name]:
                del shape[name]
        return shape


def overall(metrics: Sequence[Metric[Rows]], rows: Rows, windows: Groups, *, unit: str = "") -> dict[str, Value]:
    """Value and bootstrap interval of every metric; all metrics share the same resamples."""
    parts = [metric.sums(rows, windows) for metric in metrics]
    ends = np.cumsum([part.shape[1] for part in parts])[:-1]
    drawn = np.split(resample_sums(np.concatenate(parts, axis=1)), ends, axis=1)
    return {
        metric.name: _value(metric, part, draws, unit)
        for metric, part, draws in zip(metrics, parts, drawn, strict=True)
    }


def by_group(metrics: Sequence[Metric[Rows]], rows: Rows, groups: Groups) -> dict[str, dict[str, float | None]]:
    """Value of every metric for every group."""
    columns = {metric.name: metric.finish(metric.sums(rows, groups)) for metric in metrics}
    return {
        str(name): {metric: defined(values[g]) for metric, values in columns.items()}
        for g, name in enumerate(groups.names)
    }


def defined(value: float) -> float | None:
    """The value as a plain float; None where it is NaN or infinite, which JSON cannot hold."""
    return float(value) if math.isfinite(value) else None


def _value(metric: Metric[Rows], sums: Floats, draws: Floats, unit: str) -> Value:
    lo, hi = percentile_interval(metric.finish(draws))
    shown = unit if metric.unit == TARGET_UNIT else metric.unit
    value = float(metric.finish(sums.sum(axis=0)))
    return Value(defined(value), defined(lo), defined(hi), metric.receipt, shown, metric.better)
