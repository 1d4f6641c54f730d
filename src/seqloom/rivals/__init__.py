"""Honest rivals: what a model must beat to be worth running. Names in recipes are file names."""

from __future__ import annotations

from collections.abc import Mapping

from seqloom.rivals.auto_ets import AutoEts
from seqloom.rivals.majority import Majority
from seqloom.rivals.mean import Mean
from seqloom.rivals.median import Median
from seqloom.rivals.rival import CategoryRival, ForecastRival, Forecasts, NumberRival, Window
from seqloom.rivals.seasonal_naive import SeasonalNaive, seasonal_naive

__all__ = [
    "CATEGORY_RIVALS",
    "FORECAST_RIVALS",
    "NUMBER_RIVALS",
    "CategoryRival",
    "ForecastRival",
    "Forecasts",
    "NumberRival",
    "Window",
    "seasonal_naive",
]

FORECAST_RIVALS: Mapping[str, ForecastRival] = {"seasonal_naive": SeasonalNaive(), "auto_ets": AutoEts()}
# one label per step is the same question as one label per example, asked once per valid step
CATEGORY_RIVALS: Mapping[str, CategoryRival] = {"majority": Majority()}
NUMBER_RIVALS: Mapping[str, NumberRival] = {"mean": Mean(), "median": Median()}
