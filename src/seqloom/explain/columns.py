"""Rows of text in aligned columns."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """One line for each row, two spaces between columns; those in `right` are flush right, the last one is ragged."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = [str.rjust if k in right else str.ljust for k in range(len(widths))]
    return ["  ".join(f(text, w) for f, text, w in zip(sides, row, widths, strict=True)).rstrip() for row in rows]
