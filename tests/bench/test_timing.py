"""The timing functions measure what they say."""

from __future__ import annotations

import time

import numpy as np
import pytest

from seqloom.bench import imports, long, timing
from seqloom.bench.row import Goal, Row, absent, timed
from seqloom.bench.timing import Effort, interleaved, seconds


def test_a_sleep_takes_as_long_as_it_says() -> None:
    assert seconds(lambda: time.sleep(0.02)) >= 0.02
    assert seconds(lambda: time.sleep(0.01), calls=3) >= 0.01
    found = interleaved({"short": lambda: time.sleep(0.001), "long": lambda: time.sleep(0.05)}, Effort(3, 0.0))
    assert found["short"] >= 0.001
    assert found["long"] >= 0.05
    assert found["short"] < found["long"]


def test_contenders_take_turns_after_a_call_each_that_does_not_count() -> None:
    order: list[str] = []
    interleaved({"ours": lambda: order.append("o"), "theirs": lambda: order.append("t")}, Effort(3, 0.0))
    assert "".join(order[-12:]) == "oottoottoott"  # the first of two is not timed
    assert order.count("o") == order.count("t") == 6 + 2  # one to warm up, one to see how long it takes


def test_a_long_call_needs_no_other_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "LONG", 0.005)
    calls = {"short": 0, "long": 0}

    def call(name: str, duration: float) -> None:
        calls[name] += 1
        time.sleep(duration)

    interleaved({"short": lambda: call("short", 0.0), "long": lambda: call("long", 0.01)}, Effort(3, 0.0))
    assert calls == {"short": 2 + 6, "long": 2 + 1 + 3}


def test_a_median_shrugs_off_one_slow_sample() -> None:
    calls = 0

    def sometimes_slow() -> None:
        nonlocal calls
        calls += 1
        time.sleep(0.3 if calls == 4 else 0.001)

    assert interleaved({"ours": sometimes_slow}, Effort(5, 0.0))["ours"] < 0.2


def test_short_calls_are_made_often_enough_for_a_sample() -> None:
    calls = 0

    def quick() -> None:
        nonlocal calls
        calls += 1

    interleaved({"ours": quick}, Effort(1, 0.005))
    assert calls > 1000


def test_an_import_is_timed_apart_from_torch() -> None:
    theirs, ours = imports.seconds_of("import time; time.sleep(0.3)")
    assert ours >= 0.3
    assert theirs > 0


def test_a_peak_is_that_of_the_process_alone() -> None:
    """Not of the one that started it, which may have held more."""
    held = np.ones(100_000_000)
    found = long.in_a_process({"steps": 50, "memory": "800MB", "core": long.SIZES})
    assert 100e6 < found["peak_bytes_before"] <= found["peak_bytes"] < 800e6
    assert long.peak_bytes() > held.nbytes


@pytest.mark.parametrize(
    ("ratio", "goal", "expected"),
    [
        (3.0, Goal(2, 4), "bar"),
        (4.0, Goal(2, 4), "dream"),
        (1.9, Goal(2, 4), "no"),
        (1.2, Goal(1.5, 1.1, at_most=True), "bar"),
        (1.1, Goal(1.5, 1.1, at_most=True), "dream"),
        (1.6, Goal(1.5, 1.1, at_most=True), "no"),
        (9.0, None, ""),
    ],
)
def test_what_is_reached(ratio: float, goal: Goal | None, expected: str) -> None:
    assert Row("a", "b", ratio=ratio, goal=goal).reached == expected


def test_a_goal_may_speak_of_our_own_figure() -> None:
    assert Row("a", "b", ours=0.2, ratio=9.0, goal=Goal(1.0, 0.3, at_most=True, of="ours")).reached == "dream"


def test_a_ratio_is_their_time_over_ours() -> None:
    row = timed("a", "b", {"B": 1}, ours=0.002, theirs=0.006)
    assert (row.ours, row.theirs, row.ratio) == (pytest.approx(2), pytest.approx(6), pytest.approx(3))
    assert absent("a", "b", {}, "why", goal=Goal(1, 2)).reached == ""
