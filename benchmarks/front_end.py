"""What convolutions before a recurrent core buy on long sequences, beside none: time for a step, accuracy for a time.

    python benchmarks/front_end.py [--task order] [--steps 2000] [--seconds 20] [--json FILE]

Every contender trains for the same processor time on one thread, then answers the test part once. Tasks:

    order    noise with two short tones, each low or high, anywhere in it; in which order did they come? Four classes,
             made here from a fixed seed
    speech   spoken digits as raw samples, 1,100 to 10,500 steps: `speech-fsdd/` in the folder that SEQLOOM_DATA names

`none` is the recurrent core alone. `none, 4x` is the same with four times the time. `mean 16` and `stack 16` have no
front end either, but a table with the means of 16 steps, or with 16 steps side by side, in place of each 16: the
plainest ways to a short sequence. The others are recipes with `core.front`.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import tarfile
import tempfile
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch

from seqloom.batch import cut, encode
from seqloom.dataset import part_places, read_dataset
from seqloom.evaluate import evaluate
from seqloom.fitting import fit_model, prepare
from seqloom.model import SequenceModel
from seqloom.recipe import parse_recipe

BLOCK = 16  # steps that become one without a front end
TONE = 40  # samples
PERIODS = {"low": 16, "high": 8}  # samples
AMPLITUDE = 3.0  # of the tones, in deviations of the noise


class Contender(NamedTuple):
    """A front end, or what becomes of each block of so many steps of the table; and its share of the time."""

    front: tuple[dict[str, Any], ...] = ()
    block: int = 1
    made: Callable[[list[float]], Any] = list
    times: int = 1


def _conv(channels: int, kernel_size: int, **more: Any) -> dict[str, Any]:
    return {"channels": channels, "kernel_size": kernel_size, "stride": 4, **more}


def _mean(block: list[float]) -> float:
    return float(np.mean(block))


def _stack(block: list[float]) -> list[float | None]:
    return [*block, *[None] * (BLOCK - len(block))]


CONTENDERS = {
    "none": Contender(),
    "none, 4x": Contender(times=4),
    "mean 16": Contender(block=BLOCK, made=_mean),
    "stack 16": Contender(block=BLOCK, made=_stack),
    "front 16": Contender((_conv(16, 16), _conv(32, 8))),
    "front 64": Contender((_conv(16, 16), _conv(32, 8), _conv(32, 8))),
    "front 64, layer_norm": Contender(tuple(_conv(*size, layer_norm=True) for size in ((16, 16), (32, 8), (32, 8)))),
}


def order(steps: int) -> pl.DataFrame:
    """1,200 rows of noise with two tones that do not touch: 600 to learn from, 200 to choose by, 400 to test."""
    random = np.random.default_rng(5)
    rows, answers = [], []
    for _ in range(1200):
        values = random.normal(size=steps)
        first, second = np.sort(random.choice(steps // TONE, 2, replace=False)) * TONE
        names = random.choice(list(PERIODS), 2)
        for place, name in zip((first, second), names, strict=True):
            phase = random.uniform(0, 2 * np.pi)
            values[place : place + TONE] += AMPLITUDE * np.sin(2 * np.pi * np.arange(TONE) / PERIODS[name] + phase)
        rows.append(values.round(3).tolist())
        answers.append(" then ".join(names))
    split = ["train"] * 600 + ["valid"] * 200 + ["test"] * 400
    return pl.DataFrame({"x": rows, "answer": answers, "split": split})


def speech(folder: Path) -> pl.DataFrame:
    """Raw samples of spoken digits, the test part as published; every tenth recording of the rest is to choose by."""
    with (folder / "labels.csv").open() as file:
        labels = {row["file"]: row for row in csv.DictReader(file)}
    rows = []
    with tarfile.open(folder / "recordings.tar.xz", "r:xz") as archive:
        for member in archive:
            label = labels.get(Path(member.name).name)
            if label is not None:
                content = archive.extractfile(member)
                assert content is not None
                split = "valid" if label["split"] == "train" and int(label["index"]) % 10 == 9 else label["split"]
                rows.append({"x": samples(content.read()), "answer": label["digit"], "split": split})
    return pl.DataFrame(rows)


def samples(content: bytes) -> list[float]:
    """16-bit samples in -1..1."""
    with wave.open(io.BytesIO(content)) as sound:
        return (np.frombuffer(sound.readframes(sound.getnframes()), "<i2") / 2**15).tolist()


def in_blocks(table: pl.DataFrame, contender: Contender) -> pl.DataFrame:
    """The table as a contender reads it; a rest at the end of a row is a block of its own."""
    size = contender.block
    if size == 1:
        return table
    rows = [[contender.made(row[k : k + size]) for k in range(0, len(row), size)] for row in table["x"].to_list()]
    return table.with_columns(x=pl.Series(rows))


def recipe(contender: Contender, steps: int) -> dict[str, Any]:
    """The same for all but the front end and the number of training steps."""
    return {
        "data": {"split": {"column": "split"}},
        "inputs": {"x": {"kind": "series"}},
        "core": {"cell": "gru", "hidden_size": 32, "front": list(contender.front)},
        "outputs": {"answer": {"kind": "category", "pooling": ["last", "mean"]}},
        "training": {
            "steps": steps,
            "batch_size": 32,
            "lr": 0.004,
            "validate_every": max(steps // 10, 1),
            "threads": 1,
        },
    }


def pace(contender: Contender, table: pl.DataFrame) -> float:
    """Processor seconds for one training step: the median of five, after one to warm up."""
    model = SequenceModel(parse_recipe(recipe(contender, 1)))
    dataset = read_dataset(model, table)
    prepare(model, dataset)
    encoded = encode(dataset.segments, model.inputs, model.outputs)
    places = part_places(model, dataset, "train")
    taken = []
    for number in range(6):
        rows = np.random.default_rng(number).choice(len(places.segment), 32, replace=False)
        began = time.process_time()
        batch = cut(encoded, places.take(rows), model.inputs, model.outputs)
        model.loss(model(batch), batch).backward()
        taken.append(time.process_time() - began)
    return float(np.median(taken[1:]))


def measured(name: str, contender: Contender, table: pl.DataFrame, seconds: float) -> dict[str, Any]:
    """One line of the result."""
    table = in_blocks(table, contender)
    step = pace(contender, table)
    steps = max(int(seconds * contender.times / step), 10)
    model = SequenceModel(parse_recipe(recipe(contender, steps)))
    dataset = read_dataset(model, table)
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        standing = fit_model(model, dataset, Path(folder)).standing
    taken = time.process_time() - began
    found = evaluate(model, dataset).document["outputs"]["answer"]
    longest = int(dataset.segments.lengths.max())
    return {
        "front": name,
        "factor": model.front.factor * contender.block,
        "receptive_field": model.front.receptive_field * contender.block,
        "longest_row_in_the_core": int(model.front.lengths(torch.tensor(longest))),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "seconds_per_step": step,
        "training_steps": standing.step,
        "training_seconds": taken,
        "accuracy": {key: found["metrics"]["accuracy"][key] for key in ("value", "lo", "hi")},
        "majority": found["rivals"]["majority"]["metrics"]["accuracy"]["value"],
    }


def main() -> None:
    """Run the contenders one after another; each prints its line when it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=["order", "speech"], default="order")
    parser.add_argument("--steps", type=int, default=2000, help="length of the rows of `order`")
    parser.add_argument("--seconds", type=float, default=20.0, help="processor time of each training")
    parser.add_argument("--only", nargs="*", choices=list(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--json", type=Path, help="write the result to this file as well")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.task == "speech" and "SEQLOOM_DATA" not in os.environ:
        parser.error("SEQLOOM_DATA does not name the folder that holds speech-fsdd/; set it, or take --task order")
    tables: dict[str, Callable[[], pl.DataFrame]] = {
        "order": lambda: order(arguments.steps),
        "speech": lambda: speech(Path(os.environ["SEQLOOM_DATA"]) / "speech-fsdd"),
    }
    table = tables[arguments.task]()
    lines = []
    for name in arguments.only:
        lines.append(measured(name, CONTENDERS[name], table, arguments.seconds))
        print(json.dumps(lines[-1]), flush=True)
    result = {"task": arguments.task, "torch": torch.__version__, "seconds": arguments.seconds, "contenders": lines}
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
