"""Metrics with receipts: a value, its interval, and the exact definition that produced it."""

from seqloom.metrics.category import score_category
from seqloom.metrics.forecast import score_forecast, seasonal_scale
from seqloom.metrics.labels import score_labels
from seqloom.metrics.number import score_number
from seqloom.metrics.result import Result, Value

__all__ = [
    "Result",
    "Value",
    "score_category",
    "score_forecast",
    "score_labels",
    "score_number",
    "seasonal_scale",
]
