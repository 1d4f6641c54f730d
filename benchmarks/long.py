"""Memory and time of one exact gradient of a long sequence: `python benchmarks/long.py --json long.json`.

Each length is trained on in a process of its own, one sequence of so many steps with a label at each step, once with
the memory budget and, where it fits, once without. Memory is the peak of the process (resident, `ru_maxrss`), so it
holds Python, the libraries and the data too.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SIZES = {"cell": "lstm", "hidden_size": 128, "num_layers": 1}


def one_gradient(steps: int, memory: str | None, core: dict[str, Any]) -> dict[str, Any]:
    """Train one step on one sequence, and say what it took."""
    import numpy as np
    import polars as pl
    import torch

    from seqloom.batch import encode
    from seqloom.dataset import part_places, read_dataset
    from seqloom.fitting import prepare, validation_places
    from seqloom.model import SequenceModel
    from seqloom.recipe import parse_recipe
    from seqloom.training.exact import Exact
    from seqloom.training.lessons import Material
    from seqloom.training.windows import Windows

    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    values = random.normal(size=steps)
    above = np.where(np.convolve(values, np.ones(5), "full")[:steps] > 0, "above", "below")
    table = pl.DataFrame({"split": ["train"], "x": [values], "side": [above]})
    recipe = {
        "data": {"split": {"column": "split", "valid": 0}},
        "inputs": {"x": {"kind": "series"}},
        "core": core,
        "outputs": {"side": {"kind": "labels"}},
        "training": {"memory": memory, "batch_size": 1},
    }
    model = SequenceModel(parse_recipe(recipe))
    dataset = read_dataset(model, table)
    prepare(model, dataset)
    encoded = encode(dataset.segments, model.inputs, model.outputs)
    material = Material(encoded, part_places(model, dataset, "train"), validation_places(model, dataset))
    lessons = Windows(model, material) if memory is None else Exact(model, material)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
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
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "peak_bytes_before": before,
    }
    if isinstance(lessons, Exact):
        found |= {"chunk": lessons.plan.steps, "chunks": lessons.plan.chunks, "predicted": lessons.plan.parts}
    return found


def in_a_process(arguments: dict[str, Any]) -> dict[str, Any]:
    """`one_gradient` with memory of its own; what was killed says so."""
    command = [sys.executable, __file__, "--one", json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {**arguments, "failed": done.stderr.strip().splitlines()[-1] if done.stderr else done.returncode}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--memory", default="800MB", help="budget, as in training.memory")
    parser.add_argument("--core", type=json.loads, default={}, help='JSON, such as \'{"cell": "gru"}\'')
    parser.add_argument("--whole", type=int, nargs="*", default=[10_000], help="lengths read without a budget too")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one_gradient(**options.one)))
        return
    core = SIZES | options.core
    asked = [(steps, options.memory) for steps in options.steps] + [(steps, None) for steps in options.whole]
    rows = [in_a_process({"steps": steps, "memory": memory, "core": core}) for steps, memory in asked]
    peaks = [row["peak_bytes"] for row in rows[: len(options.steps)] if "peak_bytes" in row]
    ratio = peaks[-1] / peaks[0] if len(peaks) > 1 else None
    document = {"core": core, "rows": rows, "peak_of_the_last_to_the_first": ratio}
    text = json.dumps(document, indent=2)
    if options.json:
        options.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
