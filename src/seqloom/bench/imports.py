"""What `import seqloom` costs a program that has imported torch already, each time in a fresh process."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator

from seqloom.bench.row import Goal, Row
from seqloom.bench.setting import Setting

GOAL = Goal(1.0, 0.3, at_most=True, of="ours")
# Names are looked up when they are first used, so the bare import hides what comes later; the second row does not.
STATEMENTS = {"import seqloom": GOAL, "from seqloom import fit, load": None}
_TIMED = """
import time
began = time.perf_counter()
import torch
between = time.perf_counter()
{statement}
print(between - began, time.perf_counter() - between)
"""


def rows(setting: Setting) -> Iterator[Row]:
    """Seconds beyond torch's own import; the ratio is ours to theirs."""
    repeats = 1 if setting.tiny else setting.effort.repeats
    samples: dict[str, list[tuple[float, float]]] = {statement: [] for statement in STATEMENTS}
    for _ in range(repeats):
        for statement, found in samples.items():
            found.append(seconds_of(statement))
    for statement, goal in STATEMENTS.items():
        theirs, ours = (statistics.median(column) for column in zip(*samples[statement], strict=True))
        yield Row(f"{statement}, of torch's own", "import torch", {}, ours, theirs, ours / theirs, unit="s", goal=goal)


def seconds_of(statement: str) -> tuple[float, float]:
    """Seconds of `import torch`, and of a statement after it."""
    command = [sys.executable, "-c", _TIMED.format(statement=statement)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    theirs, ours = (float(part) for part in done.stdout.split())
    return theirs, ours
