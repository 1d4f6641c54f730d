"""What all benchmarks of one run share."""

from __future__ import annotations

from typing import NamedTuple

from seqloom.bench.limits import Limits
from seqloom.bench.timing import Effort


class Setting(NamedTuple):
    """How to measure.

    Attributes:
        threads: of whole layers, on both sides; live steps take one.
        effort: how often.
        tiny: sizes that only show that everything runs.
        limits: of the machine.
    """

    threads: int
    effort: Effort
    tiny: bool
    limits: Limits
