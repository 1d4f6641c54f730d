"""One run of benchmarks: a machine, a setting, and rows."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from seqloom.bench import BENCHMARKS
from seqloom.bench.limits import Limits, measure_limits
from seqloom.bench.row import Row
from seqloom.bench.setting import Setting
from seqloom.bench.timing import Effort
from seqloom.errors import UsageError

Told = Callable[[str, list[Row]], None]


def chosen(names: Sequence[str]) -> list[str]:
    """The benchmarks that were asked for, `all` of them written out.

    Raises:
        UsageError: there is none of a name.
    """
    unknown = [name for name in names if name not in (*BENCHMARKS, "all")]
    if unknown:
        raise UsageError(f"there is no benchmark {unknown[0]!r}; expected all or some of {', '.join(BENCHMARKS)}")
    return list(BENCHMARKS) if "all" in names else list(dict.fromkeys(names))


def measure(names: Sequence[str], setting: Setting, told: Told) -> dict[str, Any]:
    """Run benchmarks one after another; `told` gets the rows of each as it ends. Gives plain values for JSON."""
    rows: list[dict[str, Any]] = []
    for name in names:
        found = list(BENCHMARKS[name].rows(setting))
        told(name, found)
        rows += [{"benchmark": name, **row.to_json()} for row in found]
    return {"machine": machine(setting.limits), **settled(setting), "rows": rows}


def prepare(threads: int | None, effort: Effort, *, tiny: bool) -> Setting:
    """Measure the machine's limits; threads are those of torch unless said.

    Raises:
        UsageError: no thread is left to work.
    """
    if threads is not None and threads < 1:
        raise UsageError(f"--threads is {threads}; expected 1 or more")
    count = threads or torch.get_num_threads()
    return Setting(count, effort, tiny, measure_limits(count))


def settled(setting: Setting) -> dict[str, Any]:
    """How it was measured, and whether the figures may be quoted."""
    return {
        "threads": setting.threads,
        "repeats": setting.effort.repeats,
        "tiny": setting.tiny,
        "caveat": caveat(setting),
    }


def caveat(setting: Setting) -> str:
    """Why the figures are not to be quoted; empty where they are."""
    if setting.tiny:
        return "tiny sizes: these figures only show that everything runs"
    if setting.effort.repeats < 30:
        return f"quick: medians of {setting.effort.repeats}, not of 30; do not quote these figures"
    return ""


def machine(limits: Limits) -> dict[str, Any]:
    """Processor, versions, measured limits."""
    return {
        "processor": _processor(),
        "system": platform.platform(),
        "versions": {name: _version(name) for name in ("seqloom", "torch", "onnxruntime", "numpy")},
        "limits": limits._asdict() | {"reads": [reads._asdict() for reads in limits.reads]},
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
