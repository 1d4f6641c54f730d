"""The machine's limits: the native loops do the work that they count; without them torch measures, and it is said."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from seqloom.bench import limits
from seqloom.bench.limits import Limits, Reads, cache_bytes, measure_limits
from seqloom.bench.timing import seconds
from seqloom.kernels.native import library


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """One short try, and no large memory."""
    monkeypatch.setattr(limits, "_TRIES", 1)
    monkeypatch.setattr(limits, "_LEAST", 0.001)
    monkeypatch.setattr(limits, "_MEMORY", 1 << 20)


def require_native() -> ModuleType:
    found = library()
    if not isinstance(found, ModuleType):
        pytest.skip(found)
    return found


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("compiled", [True, False])
def test_limits_are_positive_and_name_their_source(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if compiled:
        require_native()
    else:
        monkeypatch.setattr(limits, "library", lambda: "not compiled")
    found = measure_limits(2)
    assert found.source.startswith("native, ") if compiled else found.source == "torch"
    assert [reads.level for reads in found.reads] == [*cache_bytes(), "memory"]
    speeds = [found.peak_one, found.peak_all, *(speed for reads in found.reads for speed in (reads.one, reads.all))]
    assert all(0 < speed < 1e6 for speed in speeds)


def test_native_loops_count_what_they_do() -> None:
    native = require_native()
    memory = np.ones((1, 4096), np.float32)
    assert native.read_rounds(1, memory, 7) == 7 * memory.nbytes
    assert native.read_rounds(2, memory, 7) in (7 * memory.nbytes, 7 * memory.nbytes // 2)  # one thread if others work
    assert native.multiply_adds(1, 20) == 2 * native.multiply_adds(1, 10) > 0
    with pytest.raises(ValueError, match="one thread or more"):
        native.read_rounds(0, memory, 1)


def test_native_loops_are_not_optimised_away() -> None:
    """Ten thousand times the rounds take longer: with the loop removed both would take no time."""
    native = require_native()
    memory = np.ones((1, 1 << 16), np.float32)
    for call in (native.multiply_adds, lambda threads, rounds: native.read_rounds(threads, memory, rounds)):
        few = min(seconds(lambda: call(1, 1)) for _ in range(5))  # noqa: B023
        assert seconds(lambda: call(1, 10_000)) > 20 * few  # noqa: B023


def test_weights_are_read_from_the_nearest_level_that_holds_them() -> None:
    reads = [Reads("L1", 16, 3, 6), Reads("L2", 100, 2, 4), Reads("memory", 1000, 1, 1)]
    found = Limits("made up", 2, 10, 20, reads)
    assert [found.level(size).level for size in (32, 33, 200, 201, 10**9)] == ["L1", "L2", "L2", "memory", "memory"]
    assert (found.peak(1), found.peak(2)) == (10, 20)
