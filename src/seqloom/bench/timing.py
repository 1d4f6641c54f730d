"""The time of calls that take turns: ours, theirs, ours, theirs. A slow moment of the machine then hits both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Call = Callable[[], Any]


class Effort(NamedTuple):
    """How much is measured.

    Attributes:
        repeats: samples of each contender; the median is what counts.
        least: seconds a sample takes at least; shorter calls are made several times for one sample.
    """

    repeats: int
    least: float


FULL = Effort(repeats=30, least=0.002)
QUICK = Effort(repeats=5, least=0.001)
LONG = 1.0  # seconds


def interleaved(contenders: Mapping[str, Call], effort: Effort) -> dict[str, float]:
    """Median seconds of a call of each contender, which take turns.

    Before each sample the contender is called once more, and that does not count: what is measured is a call among
    many of its kind, with its caches and its memory at hand, and not how long the others have kept both from it. A
    call that takes longer than `LONG` finds them on its own way.
    """
    calls = {name: _calls_in_a_sample(call, effort.least) for name, call in contenders.items()}
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(effort.repeats):
        for name, call in contenders.items():
            if not samples[name] or samples[name][-1] < LONG:
                call()
            samples[name].append(seconds(call, calls[name]))
    return {name: statistics.median(found) for name, found in samples.items()}


def seconds(call: Call, calls: int = 1) -> float:
    """Seconds of one call, the mean of so many in a row."""
    began = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - began) / calls


def _calls_in_a_sample(call: Call, least: float) -> int:
    call()  # the first one allocates, compiles, fills caches
    calls = 1
    while (one := seconds(call, calls)) * calls < least:
        calls = max(2 * calls, min(int(least / max(one, 1e-9)), 100 * calls))
    return calls
