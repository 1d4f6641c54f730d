"""One line of the table: what was compared, what it took, and what was to be reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple


class Goal(NamedTuple):
    """What a row is to reach.

    Attributes:
        bar: what must be reached.
        dream: what would be better still.
        at_most: whether smaller is better.
        of: which figure of the row it speaks of.
    """

    bar: float
    dream: float
    at_most: bool = False
    of: Literal["ratio", "ours"] = "ratio"


@dataclass(frozen=True)
class Row:
    """A comparison.

    Attributes:
        name: what was done.
        rival: whom it is compared with.
        sizes: B, T, I, H, those that apply.
        ours, theirs: medians in `unit`; None where nothing was measured, and `note` says why.
        ratio: theirs / ours of times, so above 1 ours is faster; of other units what `name` says.
        goal: None where nothing was promised.
        gflops: useful floating-point operations per nanosecond, those of the weights on valid steps.
        share: how much of the machine's measured limit that is.
        limit: which limit: FMA (multiply-adds on registers), or reads from a level of the memory.
        kernel: who ran ours.
        note: why there is no figure, or how to read it.
    """

    name: str
    rival: str
    sizes: Mapping[str, int] = field(default_factory=dict)
    ours: float | None = None
    theirs: float | None = None
    ratio: float | None = None
    unit: str = "ms"
    goal: Goal | None = None
    gflops: float | None = None
    share: float | None = None
    limit: str = ""
    kernel: str = ""
    note: str = ""

    @property
    def reached(self) -> str:
        """`dream`, `bar` or `no`; empty where nothing was promised or measured."""
        figure = None if self.goal is None else getattr(self, self.goal.of)
        if self.goal is None or figure is None:
            return ""
        for name in ("dream", "bar"):
            goal = getattr(self.goal, name)
            if figure <= goal if self.goal.at_most else figure >= goal:
                return name
        return "no"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        goal = None if self.goal is None else self.goal._asdict()
        return asdict(self) | {"sizes": dict(self.sizes), "goal": goal, "reached": self.reached}


def timed(name: str, rival: str, sizes: Mapping[str, int], ours: float, theirs: float, **more: Any) -> Row:
    """A row of two times, given in seconds."""
    return Row(name, rival, sizes, 1e3 * ours, 1e3 * theirs, theirs / ours, **more)


def absent(name: str, rival: str, sizes: Mapping[str, int], note: str, **more: Any) -> Row:
    """A row that could not be measured, and why."""
    return Row(name, rival, sizes, note=note, **more)
