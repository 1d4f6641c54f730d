"""What a date says by itself: day of the week, season, holidays. Always known ahead."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from seqloom.data.segments import Column, Segments
from seqloom.errors import DataError
from seqloom.inputs.input import Input, InputSettings, Role
from seqloom.scaling import Scale

Days = npt.NDArray[np.datetime64]
Features = npt.NDArray[np.float64]
Feature = Literal["hour", "day_of_week", "day_of_month", "day_of_year", "month"]


class CalendarSettings(InputSettings):
    """What a recipe may say of the calendar."""

    features: list[Feature] = Field(["day_of_week", "day_of_year"], min_length=0, description="what is read off a date")
    harmonics: int = Field(4, ge=1, description="pairs of sine and cosine for the hour and the day of the year")
    holidays: str | None = Field(None, description="country code (US, GB, ...) whose public holidays are marked")


class Calendar(Input):
    """Features of each step's date.

    `day_of_week` and `month` are indicators; `hour`, `day_of_month` and `day_of_year` are harmonics of their
    cycle; `holidays` gives three flags: today, tomorrow, yesterday.

    Raises:
        DataError: the table has no time axis.
    """

    Settings = CalendarSettings
    missing = 0.0

    def __init__(self, name: str, settings: CalendarSettings) -> None:
        super().__init__(name, settings)
        self.columns = []
        self.settings = settings

    @property
    def role(self) -> Role:
        """Known: dates lie ahead of everybody."""
        return Role.KNOWN

    def read(self, segments: Segments) -> Column:
        """The time axis, (N,) datetime64."""
        if segments.times is None:
            raise DataError(f"input {self.name!r}: a calendar needs dates; name their column in `data.time`")
        return segments.times

    def fit(self, values: Column) -> None:
        """Nothing to learn."""

    def fitted(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def restore(self, fitted: dict[str, Any]) -> None:
        """Nothing."""

    def build(self) -> None:
        """No weights."""
        self.features = self.encode(np.zeros(0, "datetime64[us]")).shape[1]

    def encode(self, values: Column) -> Tensor:
        """(N,) datetime64 to (N, features)."""
        times = values.astype("datetime64[us]")
        readers: dict[str, Callable[[Days], Features]] = {
            "hour": lambda t: _harmonics(_fraction(t, "h", "D", 24), self.settings.harmonics),
            "day_of_week": lambda t: _indicators((t.astype("datetime64[D]").astype(np.int64) + 3) % 7, 7),
            "day_of_month": lambda t: _harmonics(_fraction(t, "D", "M", 31), self.settings.harmonics),
            "day_of_year": lambda t: _harmonics(_fraction(t, "D", "Y", 366), self.settings.harmonics),
            "month": lambda t: _indicators(t.astype("datetime64[M]").astype(np.int64) % 12, 12),
        }
        parts = [readers[feature](times) for feature in self.settings.features]
        if self.settings.holidays is not None:
            parts.append(_holiday_flags(times, self.settings.holidays))
        return torch.from_numpy(np.concatenate(parts, axis=1)).to(torch.get_default_dtype())

    def forward(self, encoded: Tensor, scale: Scale | None) -> Tensor:
        """As encoded."""
        return encoded


def _fraction(times: Days, unit: str, cycle: str, length: int) -> Features:
    """Where in its cycle each time stands, 0 <= fraction < 1."""
    began = times.astype(f"datetime64[{cycle}]").astype(f"datetime64[{unit}]")
    passed: Features = (times.astype(f"datetime64[{unit}]") - began).astype(np.float64)
    return passed / length


def _harmonics(fraction: Features, count: int) -> Features:
    angle = 2 * np.pi * fraction[:, None] * np.arange(1, count + 1)
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


def _indicators(codes: npt.NDArray[np.int64], count: int) -> Features:
    return np.eye(count)[codes]


def _holiday_flags(times: Days, country: str) -> Features:
    import holidays

    days = times.astype("datetime64[D]")
    years = days.astype("datetime64[Y]").astype(int) + 1970
    span = range(int(years.min()) - 1, int(years.max()) + 2) if len(years) else range(0)
    calendar = holidays.country_holidays(country, years=span)
    dates: list[datetime.date] = list(calendar)
    known = np.array(dates, dtype="datetime64[D]")
    return np.stack([np.isin(days + shift, known) for shift in (0, 1, -1)], axis=1).astype(np.float64)
