"""What this machine can do at all: multiply-adds on registers, and reads from each level of its memory.

They are measured by the native module, which knows the instruction set; without one by torch, whose matrix product and
sum are the best that is at hand then, and the limits are said to be torch's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from seqloom.bench.threads import torch_threads
from seqloom.bench.timing import seconds
from seqloom.kernels.native import library

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_USUAL = {"L1": 32 << 10, "L2": 512 << 10, "L3": 8 << 20}  # where the system does not say
_MOST_OF_A_CACHE = 16 << 20  # a virtual machine is told of caches that it shares with others
_MEMORY = 256 << 20
_TRIES, _LEAST = 5, 0.02
Work = Callable[[int, int], int]  # threads, and rounds that each goes; gives the work of all


class Reads(NamedTuple):
    """Reads from one level: bytes that each thread goes through, and bytes per nanosecond of one and of all threads."""

    level: str
    bytes: int
    one: float
    all: float


class Limits(NamedTuple):
    """The machine's limits.

    Attributes:
        source: who measured: the native module's instruction set, or torch.
        threads: how many `all` stands for.
        peak_one, peak_all: float32 operations per nanosecond.
        reads: the levels, nearest first.
    """

    source: str
    threads: int
    peak_one: float
    peak_all: float
    reads: list[Reads]

    def peak(self, threads: int) -> float:
        """Operations per nanosecond of one thread or of all."""
        return self.peak_one if threads == 1 else self.peak_all

    def level(self, size: int) -> Reads:
        """The nearest level that holds so many bytes."""
        return next((reads for reads in self.reads if size <= 2 * reads.bytes), self.reads[-1])


def measure_limits(threads: int) -> Limits:
    """The limits of one thread and of so many: the best of a few tries, since a limit is what can be reached."""
    found = library()
    if isinstance(found, ModuleType):
        source, multiply, read = f"native, {found.instruction_set()}", _native_multiply(found), _native_read(found)
    else:
        source, multiply, read = "torch", _torch_multiply(), _torch_read
    reads = []
    for level, size in cache_bytes().items():
        part = min(size // 2, _MOST_OF_A_CACHE)
        reads.append(Reads(level, part, *_speeds(read(threads, part), threads)))
    part = _MEMORY // threads
    reads.append(Reads("memory", part, *_speeds(read(threads, part), threads)))
    return Limits(source, threads, *_speeds(multiply, threads), reads)


def cache_bytes() -> dict[str, int]:
    """Bytes of the data caches, nearest first, by their usual names."""
    found = {}
    for entry in sorted(_CACHES.glob("index*")):
        kind, level, size = ((entry / name).read_text().strip() for name in ("type", "level", "size"))
        if kind != "Instruction" and size.endswith("K"):
            found[f"L{level}"] = int(size[:-1]) << 10
    return found or _USUAL


def _speeds(work: Work, threads: int) -> tuple[float, float]:
    """The most work per nanosecond of one thread and of so many."""
    rounds = 1
    # One thread says how many rounds a try takes: to start several costs time, too, on a busy machine much.
    while seconds(partial(work, 1, rounds)) < _LEAST:
        rounds *= 2
    one = _best(work, 1, rounds)
    return one, _best(work, threads, rounds) if threads > 1 else one


def _best(work: Work, threads: int, rounds: int) -> float:
    best, done = 0.0, 0

    def once() -> None:
        nonlocal done
        done = work(threads, rounds)

    for _ in range(_TRIES):
        took = seconds(once)
        best = max(best, done / took / 1e9)
    return best


def _native_multiply(native: Any) -> Work:
    return lambda threads, rounds: int(native.multiply_adds(threads, 1000 * rounds))


def _native_read(native: Any) -> Callable[[int, int], Work]:
    def read(threads: int, size: int) -> Work:
        memory = _touched(threads, size)
        count = size // 4
        return lambda working, rounds: int(native.read_rounds(working, memory[: working * count], rounds))

    return read


def _touched(threads: int, size: int) -> npt.NDArray[np.float32]:
    """Memory that begins with a cache line and has been written: pages that nobody wrote are all the same one."""
    count, line = threads * (size // 4), 64
    memory = np.ones(count + line // 4, np.float32)
    first = -memory.ctypes.data % line // 4
    return memory[first : first + count]


def _torch_multiply() -> Work:
    a = torch.ones(1024, 1024)

    def products(threads: int, rounds: int) -> int:
        with torch_threads(threads):
            for _ in range(rounds):
                a @ a
        return rounds * 2 * len(a) ** 3

    return products


def _torch_read(threads: int, size: int) -> Work:
    memory = torch.from_numpy(_touched(threads, size))

    def sums(working: int, rounds: int) -> int:
        part = memory[: working * size // 4]
        with torch_threads(working):
            for _ in range(rounds):
                part.sum()
        return rounds * working * size

    return sums
