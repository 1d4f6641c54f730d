"""The table of a run, for a terminal and for a page, from the plain values that `measure` gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

HEADS = ("what", "B,T,I,H", "ours", "against", "theirs", "ratio", "bar", "dream", "reached", "GFLOP/s", "of the limit")
_LEFT = {"what", "against", "reached"}
_COLOURS = {"dream": "green", "bar": "green", "no": "red"}
WIDTH = 150  # what the widest row needs; a narrower terminal wraps lines


def terminal(name: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """A table for Rich."""
    table = Table(title=name, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    for head in HEADS:
        table.add_column(head, justify="left" if head in _LEFT else "right", overflow="fold")
    for row in rows:
        table.add_row(*cells(row), style=_COLOURS.get(row["reached"], ""))
    return table


def markdown(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of a table for a page."""
    rule = ["---" if head in _LEFT else "---:" for head in HEADS]
    return ["| " + " | ".join(line) + " |" for line in (HEADS, rule, *map(cells, rows))]


def limits(machine: Mapping[str, Any]) -> list[str]:
    """The machine's limits in words, a line each."""
    found = machine["limits"]
    reads = ", ".join(f"{one['level']} {one['one']:.0f} / {one['all']:.0f}" for one in found["reads"])
    return [
        f"{machine['processor']}; limits measured by {found['source']}, on 1 / {found['threads']} threads:",
        f"multiply-adds {found['peak_one']:.0f} / {found['peak_all']:.0f} GFLOP/s; reads in GB/s: {reads}",
    ]


def cells(row: Mapping[str, Any]) -> list[str]:
    """What stands in each column; a row without figures says why where the rival's time would stand."""
    goal, unit = row["goal"] or {}, f" {row['unit']}"
    sign = "≤ " if goal.get("at_most") else ""
    return [
        ", ".join(part for part in (row["name"], row["kernel"]) if part),
        ",".join(str(row["sizes"][letter]) for letter in "BTIH" if letter in row["sizes"]),
        _number(row["ours"], unit),
        row["rival"],
        _number(row["theirs"], unit) if row["ratio"] is not None else row["note"],
        _number(row["ratio"], "x"),
        sign + _number(goal["bar"]) if goal else "",
        sign + _number(goal["dream"]) if goal else "",
        row["reached"],
        _number(row["gflops"]),
        f"{row['share']:.0%}, {row['limit']}" if row["share"] is not None else "",
    ]


def _number(value: float | None, unit: str = "") -> str:
    """Three digits that matter."""
    if value is None:
        return ""
    return f"{value:,.0f}{unit}" if abs(value) >= 100 else f"{value:.3g}{unit}"
