"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def number(value: float | None) -> str:
    """Three significant digits, thousands in full; a dash where undefined."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".")


def with_unit(value: float | None, unit: str) -> str:
    """The number followed by its unit, if it has one."""
    return f"{number(value)} {unit}".rstrip()


def interval(metric: Mapping[str, Any]) -> str:
    """`2.20 to 2.50`, or nothing where no interval is known."""
    if metric.get("lo") is None or metric.get("hi") is None:
        return ""
    return f"{number(metric['lo'])} to {number(metric['hi'])}"


def plural(count: int, noun: str) -> str:
    """`1 window`, `1,200 windows`; words ending in s stay as they are."""
    return f"{count:,} {noun if count == 1 or noun.endswith('s') else noun + 's'}"
