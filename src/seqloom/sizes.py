"""Sizes of memory as people write them: 500MB, 2GB, 1.5GiB."""

from __future__ import annotations

import re

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def parse_size(text: str) -> int:
    """Bytes in a size such as `2GB` (powers of ten) or `2GiB` (powers of two).

    Raises:
        ValueError: it is not of that form.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMG]i?B)", text.strip())
    if found is None or not float(found[1]):
        raise ValueError(f"expected a size such as 500MB or 2GB, in {', '.join(_UNITS)}")
    return round(float(found[1]) * _UNITS[found[2]])


def format_size(size: float) -> str:
    """Bytes in the largest unit of powers of ten that leaves at least 1."""
    for unit in ("GB", "MB", "KB"):
        if size >= _UNITS[unit]:
            return f"{size / _UNITS[unit]:.3g}{unit}"
    return f"{size:.0f} bytes"
