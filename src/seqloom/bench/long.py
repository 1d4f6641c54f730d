"""Memory of one exact gradient of a long sequence.

Each length is trained on in a process of its own, one sequence of so many steps with a label at each step. Memory is
the peak of the process (resident), so it holds Python, the libraries and the data too.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from seqloom.batch import encode
from seqloom.bench.row import Goal, Row, absent
from seqloom.bench.setting import Setting
from seqloom.dataset import part_places, read_dataset
from seqloom.fitting import prepare, validation_places
from seqloom.model import SequenceModel
from seqloom.recipe import parse_recipe
from seqloom.training.exact import Exact
from seqloom.training.lessons import Material
from seqloom.training.windows import Windows

SIZES = {"cell": "lstm", "hidden_size": 128, "num_layers": 1}
SHORT, LONG, BUDGET = 10_000, 1_000_000, "800MB"
TINY = (50, 200)
GOAL = Goal(1.5, 1.1, at_most=True)
_ONE = """
import json, sys
from seqloom.bench.long import one_gradient
print(json.dumps(one_gradient(**json.loads(sys.argv[1]))))
"""


def rows(setting: Setting) -> Iterator[Row]:
    """The peak of the long sequence beside that of the short one; the ratio is ours to theirs."""
    short, long = TINY if setting.tiny else (SHORT, LONG)
    name, rival = f"exact gradient in {BUDGET}, peak", f"the same at T = {short:,}"
    sizes = {"B": 1, "T": long, "H": 128}
    found = [in_a_process({"steps": steps, "memory": BUDGET, "core": SIZES}) for steps in (long, short)]
    failed = [str(one["failed"]) for one in found if "failed" in one]
    if failed:
        yield absent(name, rival, sizes, failed[0], goal=GOAL)
        return
    ours, theirs = (one["peak_bytes"] / 1e6 for one in found)
    note = f"{found[0]['seconds']} s in {found[0]['chunks']} chunks; measured once"
    yield Row(name, rival, sizes, ours, theirs, ours / theirs, unit="MB", goal=GOAL, note=note)


def one_gradient(steps: int, memory: str | None, core: dict[str, Any]) -> dict[str, Any]:
    """Train one step on one sequence, and say what it took."""
    torch.set_num_threads(1)
    recipe = {
        "data": {"split": {"column": "split", "valid": 0}},
        "inputs": {"x": {"kind": "series"}},
        "core": core,
        "outputs": {"side": {"kind": "labels"}},
        "training": {"memory": memory, "batch_size": 1},
    }
    model = SequenceModel(parse_recipe(recipe))
    dataset = read_dataset(model, made_up(steps))  # as from a file: nothing but what is read of it stays
    prepare(model, dataset)
    encoded = encode(dataset.segments, model.inputs, model.outputs)
    material = Material(encoded, part_places(model, dataset, "train"), validation_places(model, dataset))
    lessons = Windows(model, material) if memory is None else Exact(model, material)
    before = peak_bytes()
    began = time.perf_counter()
    torch.manual_seed(0)
    loss = lessons.learn(0, 1.0)
    seconds = time.perf_counter() - began
    norm = torch.linalg.vector_norm(torch.stack([w.grad.norm() for w in model.parameters() if w.grad is not None]))
    found = {
        "steps": steps,
        "memory": memory,
        "loss": loss,
        "gradient_norm": norm.item(),
        "seconds": round(seconds, 2),
        "peak_bytes": peak_bytes(),
        "peak_bytes_before": before,
    }
    if isinstance(lessons, Exact):
        found |= {"chunk": lessons.plan.steps, "chunks": lessons.plan.chunks, "predicted": lessons.plan.parts}
    return found


def made_up(steps: int) -> pl.DataFrame:
    """Noise, and at each step whether the sum of the last five numbers is above zero."""
    values = np.random.default_rng(0).normal(size=steps)
    above = np.where(np.convolve(values, np.ones(5), "full")[:steps] > 0, "above", "below")
    return pl.DataFrame({"split": ["train"], "x": [values], "side": [above]})


def peak_bytes() -> int:
    """The most memory that this process has had at once.

    Linux counts in `ru_maxrss` what the process that started this one had, so its own account is read there.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def in_a_process(arguments: dict[str, Any]) -> dict[str, Any]:
    """`one_gradient` with memory of its own; what was killed says so."""
    command = [sys.executable, "-c", _ONE, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {**arguments, "failed": done.stderr.strip().splitlines()[-1] if done.stderr else done.returncode}
    found: dict[str, Any] = json.loads(done.stdout)
    return found
