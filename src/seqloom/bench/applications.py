"""What is promised of whole applications against other programs, which no process of ours can run beside ours.

Those programs have environments of their own, so there is no ratio of one run here; the rows stand in the table lest
they be forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator

from seqloom.bench.row import Goal, Row, absent
from seqloom.bench.setting import Setting

_NOTE = "not measured by this command: the rival needs an environment of its own"


def rows(setting: Setting) -> Iterator[Row]:
    """The promises."""
    yield absent("translation train, target tokens per second", "JoeyNMT 2.3", {}, _NOTE, goal=Goal(5, 8))
    yield absent("ridership model to its accuracy", "NHITS of NeuralForecast 3.3", {}, _NOTE, goal=Goal(1, 5))
