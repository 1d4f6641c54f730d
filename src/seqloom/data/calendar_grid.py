"""Regular grids of dates: hours, days, business days, weeks, months and years.

A frequency is written as in Polars: a count and a unit, such as `15m`, `1h`, `1d`, `1w`, `1mo`, `3mo`
or `1y`, and `1bd` for business days (Monday to Friday). Months keep the day of their first date, or
fall on the last day of each month where all dates do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from seqloom.errors import DataError

Times = npt.NDArray[np.datetime64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

SECOND = 1_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86400 * SECOND
_FIXED = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}
_MONTHS = {"mo": 1, "q": 3, "y": 12}


@dataclass(frozen=True)
class Frequency:
    """A step of the grid: `count` microseconds (`us`), business days (`bd`) or months (`mo`)."""

    count: int
    unit: Literal["us", "bd", "mo"]


def parse_frequency(text: str) -> Frequency:
    """Read a frequency such as `1h` or `1bd`.

    Raises:
        DataError: the text is no frequency.
    """
    match = re.fullmatch(r"([1-9]\d*)(bd|mo|[smhdwqy])", text)
    if match is None:
        raise DataError(
            f"data.frequency is '{text}'; expected a count and one of s, m, h, d, bd, w, mo, q, y, "
            "such as 1h, 1d, 1bd (business days), 1w, 1mo or 15m."
        )
    count, unit = int(match[1]), match[2]
    if unit == "bd":
        return Frequency(count, "bd")
    if unit in _MONTHS:
        return Frequency(count * _MONTHS[unit], "mo")
    return Frequency(count * _FIXED[unit], "us")


def season_length(frequency: str) -> int:
    """Steps of the most usual season: a day below a day, a week for days, a year above; 1 if none fits."""
    step = parse_frequency(frequency)
    if step.unit == "bd":
        return 5 if step.count == 1 else 1
    if step.unit == "mo":
        return 12 // step.count if 12 % step.count == 0 else 1
    if step.count % (7 * DAY) == 0:
        return max(52 // (step.count // (7 * DAY)), 1)
    period = MINUTE if step.count < MINUTE else DAY if step.count < DAY else 7 * DAY
    return period // step.count if period % step.count == 0 else 1


def is_month_end(times: Times) -> Booleans:
    """Whether each date is the last day of its month."""
    return np.asarray(_day_in_month(times) == _last_day(_month(times)))


def shift_times(origins: Times, counts: Integers, frequency: Frequency, month_end: Booleans) -> Times:
    """The dates `counts` steps after `origins`, all (n,); `month_end` puts months on their last day."""
    if frequency.unit == "us":
        return np.asarray(origins + counts * np.timedelta64(frequency.count, "us"), dtype="datetime64[us]")
    days = origins.astype("datetime64[D]")
    clock = origins - days
    if frequency.unit == "bd":
        moved = np.busday_offset(days, counts * frequency.count, roll="forward")
        return np.asarray(moved + clock, dtype="datetime64[us]")
    month = _month(origins) + counts * frequency.count
    last = _last_day(month)
    day = np.where(month_end, last, np.minimum(_day_in_month(origins), last))
    first = month.astype("datetime64[M]").astype("datetime64[D]")
    return np.asarray(first + day.astype("timedelta64[D]") + clock, dtype="datetime64[us]")


def grid_index(times: Times, origins: Times, frequency: Frequency, month_end: Booleans) -> tuple[Integers, Booleans]:
    """Steps from `origins` to `times`, and whether each of `times` lies on the grid; all (n,)."""
    if frequency.unit == "us":
        index = (times - origins).astype(np.int64) // frequency.count
    elif frequency.unit == "bd":
        index = np.busday_count(origins.astype("datetime64[D]"), times.astype("datetime64[D]")) // frequency.count
    else:
        index = (_month(times) - _month(origins)) // frequency.count
    index = np.asarray(index, dtype=np.int64)
    return index, np.asarray(shift_times(origins, index, frequency, month_end) == times)


def offset_times(start: np.datetime64, frequency: str, n: int, *, month_end: bool | None = None) -> Times:
    """The `n` dates of the grid that begins at `start`, itself included.

    `month_end` says whether months are dated by their last day; omitted, they are if `start` is one.
    """
    origin = np.array([start], dtype="datetime64[us]")
    at_end = bool(is_month_end(origin)[0]) if month_end is None else month_end
    return shift_times(
        np.repeat(origin, n), np.arange(n, dtype=np.int64), parse_frequency(frequency), np.full(n, at_end)
    )


def infer_frequency(times: Times, codes: Integers) -> str | None:
    """The most frequent distance of neighbouring dates within a series; None if no series has two dates.

    `times` and `codes` (the series of each date) are (n,), sorted by series, then by date.
    """
    neighbours = (codes[1:] == codes[:-1]) & (times[1:] > times[:-1])
    earlier, later = times[:-1][neighbours], times[1:][neighbours]
    if not len(earlier):
        return None
    months = _whole_months(earlier, later)
    distance = (later - earlier).astype(np.int64)
    # Months as negative numbers keep both units in one array.
    steps, counts = np.unique(np.where(months > 0, -months, distance), return_counts=True)
    step = int(steps[np.argmax(counts)])
    if step < 0:
        return f"{-step // 12}y" if step % 12 == 0 else f"{-step}mo"
    if step == DAY and _only_business_days(times, earlier, later):
        return "1bd"
    unit = next(unit for unit in ("w", "d", "h", "m", "s") if step % _FIXED[unit] == 0 or unit == "s")
    return f"{max(step // _FIXED[unit], 1)}{unit}"


def _only_business_days(times: Times, earlier: Times, later: Times) -> bool:
    # A short stretch of days may miss the weekend by chance: ask for a step across one.
    crosses_weekend = bool(np.any((later - earlier) == np.timedelta64(3 * DAY, "us")))
    return crosses_weekend and bool(np.all(np.is_busday(times.astype("datetime64[D]"))))


def _whole_months(earlier: Times, later: Times) -> Integers:
    """Months between two dates that stand on the same day or both end their months, else 0."""
    same_clock = (earlier - earlier.astype("datetime64[D]")) == (later - later.astype("datetime64[D]"))
    same_day = _day_in_month(earlier) == _day_in_month(later)
    both_end = is_month_end(earlier) & is_month_end(later)
    months = _month(later) - _month(earlier)
    return np.where(same_clock & (same_day | both_end), months, 0)


def _month(times: Times) -> Integers:
    return np.asarray(times.astype("datetime64[M]").astype(np.int64))


def _day_in_month(times: Times) -> Integers:
    days = times.astype("datetime64[D]")
    return np.asarray((days - times.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64))


def _last_day(month: Integers) -> Integers:
    """Last day of each month (months since 1970), counted from 0."""
    first = month.astype("datetime64[M]").astype("datetime64[D]")
    after = (month + 1).astype("datetime64[M]").astype("datetime64[D]")
    return np.asarray((after - first).astype(np.int64) - 1)
