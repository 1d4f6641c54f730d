"""Target tokens per second while training a translation model, beside JoeyNMT 2.3 in the same run.

    python benchmarks/translation.py [--joeynmt PYTHON] [--data DIR] [--threads 1] [--batches 20] [--json FILE]

Sizes: bidirectional GRU of 256, decoder GRU of 256, embeddings of 256, batches of 128 pairs, at most 5,900 words on
either side, float32 where nothing else is said. DIR is what `recipes/translation/prepare.py` wrote; without it, pairs
of random words with the lengths of Multi30k are made here, which cost the same, and all 5,900 stand in them. A step is
forward, backward, clipping and AdamW on a batch that is at hand; the contenders take turns, a step each on the same
pairs with the same threads, and the median over batches is shown, after three that warm up.

JoeyNMT is the contender `additive, input feeding` in another program; PYTHON is the interpreter of an environment that
has it. Its own declared dependencies are many; what these steps import of them is

    python -m venv joey
    joey/bin/pip install --no-deps joeynmt==2.3.0
    joey/bin/pip install torch==2.13.0 numpy setuptools pyyaml importlib_metadata packaging tensorboard matplotlib \
        sentencepiece subword-nmt sacrebleu

Both sides count the words of the target and its end mark; JoeyNMT also reads an end mark behind the source. It is
measured twice: on the very batches that ours learn, whose pairs are of like length, and on batches of pairs drawn at
random, as its own training makes them, where it computes the padding too. Without --joeynmt only ours are shown.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import joeynmt_steps
import numpy as np
import polars as pl
import torch
from joeynmt_steps import Mark

from seqloom.batch import Batch, cut, encode, steps_of
from seqloom.dataset import Dataset, part_places, read_dataset
from seqloom.fitting import prepare
from seqloom.model import SequenceModel
from seqloom.recipe import parse_recipe
from seqloom.tokenizer import BEGIN, END, MARKS
from seqloom.training.optim import make_optimizer
from seqloom.training.order import Bucketed

ROWS, WORDS, SIZE = 128, 5900, 256
WARM_UP = 3
RIVAL, RIVAL_ALONE = "JoeyNMT", "JoeyNMT, batches of its own"
STEPS = Path(joeynmt_steps.__file__)


class Contender(NamedTuple):
    """What the decoder's part of the recipe says, and the precision of the forward pass."""

    options: dict[str, Any]
    precision: str = "float32"


CONTENDERS: dict[str, Contender] = {
    "additive": Contender({"attention": "additive"}),
    "additive, bfloat16": Contender({"attention": "additive"}, "bfloat16"),  # as recipes/translation
    "additive, input feeding": Contender({"attention": "additive", "input_feeding": True}),
    "multiplicative": Contender({"attention": "multiplicative"}),
    "multiplicative, input feeding": Contender({"attention": "multiplicative", "input_feeding": True}),
    "4 heads": Contender({"attention": "multi_head", "heads": 4}),
}


class Taken(NamedTuple):
    """One training step: how long it took, the target tokens in it, and the loss for each of them."""

    seconds: float
    tokens: int
    loss: float


# Takes the step of batch 0, 1, ...
Learn = Callable[[int], Taken]


def made_up(rows: int = 4000) -> pl.DataFrame:
    """Pairs of random words, about as long as the sentences of Multi30k; the first texts hold each word once."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.normal(12, 4, rows).round(), 4, 35).astype(int)
    others = np.maximum(lengths + random.integers(-2, 4, rows), 2)
    words = WORDS - len(MARKS)

    def texts(sizes: np.ndarray) -> list[str]:
        drawn = np.minimum(random.zipf(1.2, int(sizes.sum())), words) - 1
        drawn[:words] = random.permutation(words)[: len(drawn)]
        return [" ".join(f"w{k}" for k in text) for text in np.split(drawn, sizes.cumsum()[:-1])]

    return pl.DataFrame({"de": texts(lengths), "en": texts(others), "split": ["train"] * rows})


def declared(contender: Contender, threads: int) -> SequenceModel:
    """The model of one contender."""
    word = {"kind": "text", "tokens": "word", "vocabulary": WORDS, "size": SIZE}
    training = {"batch_size": ROWS, "batch_tokens": 100_000, "threads": threads, "precision": contender.precision}
    return SequenceModel(
        parse_recipe(
            {
                "data": {"split": {"column": "split", "valid": 0}},
                "inputs": {"de": word},
                "core": {"cell": "gru", "hidden_size": SIZE, "bidirectional": True},
                "outputs": {"en": {**word, "hidden_size": SIZE, **contender.options}},
                "training": training,
            }
        )
    )


def batches_of(model: SequenceModel, dataset: Dataset, count: int) -> tuple[list[Batch], list[Batch]]:
    """The first `count` batches of a training of ours, and as many of pairs at random.

    All contenders read texts alike, so that one model cuts for all.
    """
    encoded = encode(dataset.segments, model.inputs, model.outputs)
    places, settings = part_places(model, dataset, "train"), model.recipe.training
    order = Bucketed(steps_of(encoded, places), settings.batch_size, settings.batch_tokens or 0, settings.seed)
    random = np.random.default_rng(0)
    drawn = [random.choice(len(places.segment), settings.batch_size, replace=False) for _ in range(count)]
    alike, mixed = ([*map(order.rows, range(count))], drawn)
    cuts = [[cut(encoded, places.take(rows), model.inputs, model.outputs) for rows in some] for some in (alike, mixed)]
    return cuts[0], cuts[1]


def ours(model: SequenceModel, batches: Sequence[Batch]) -> Learn:
    """Steps of one of our models."""
    settings = model.recipe.training
    optimizer = make_optimizer(model, settings)
    model.train()

    def learn(number: int) -> Taken:
        batch = batches[number]
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=settings.precision == "bfloat16"):
            loss = model.loss({name: raw.float() for name, raw in model(batch).items()}, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_norm)
        optimizer.step()
        seconds = time.perf_counter() - began
        return Taken(seconds, int((batch.targets["en"] >= 0).sum()), loss.item())

    return learn


def as_joeynmt(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """(B, S) source and (B, U) target in the codes of JoeyNMT: marks of its own, an end behind the source too."""
    renamed = {0: Mark.UNKNOWN, END: Mark.END, BEGIN: Mark.BEGIN}

    def coded(codes: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        shifted = codes + (len(Mark) - len(MARKS))
        for code, mark in renamed.items():
            shifted[codes == code] = mark
        shifted[np.arange(codes.shape[1]) >= lengths[:, None]] = Mark.PADDING
        return shifted

    source, lengths = batch.inputs["de"][..., 0].numpy(), batch.lengths.numpy()
    target = batch.targets["en"].numpy()
    read = np.pad(coded(source, lengths), [(0, 0), (0, 1)], constant_values=Mark.PADDING)
    read[np.arange(len(read)), lengths] = Mark.END
    written = np.pad(coded(target, (target >= 0).sum(axis=1)), [(0, 0), (1, 0)], constant_values=Mark.BEGIN)
    return read, written


@contextmanager
def joeynmt(python: Path, batches: Sequence[Batch], words: int, threads: int) -> Iterator[tuple[Learn, dict[str, Any]]]:
    """Steps of JoeyNMT in a process of its own, and what it says of itself.

    Raises:
        SystemExit: the process ends before it was asked to.
    """
    with tempfile.TemporaryDirectory() as folder, Path(folder, "log").open("w+") as log:
        path = Path(folder, "batches.npz")
        pairs = [as_joeynmt(batch) for batch in batches]
        named = {f"{side}-{k}": pair[j] for k, pair in enumerate(pairs) for j, side in enumerate(("source", "target"))}
        np.savez(path, **named)
        command = [str(python), str(STEPS), str(path), str(SIZE), str(words), str(threads)]
        # What makes our modules importable must not reach into the other environment.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        try:
            pipe = subprocess.PIPE  # without a buffer: what a process that has ended no longer reads is not kept
            process = subprocess.Popen(command, bufsize=0, stdin=pipe, stdout=pipe, stderr=log, env=environment)
        except OSError as error:
            raise SystemExit(f"error: {python} cannot be started: {error.strerror}; see --help for --joeynmt") from None

        def answer() -> dict[str, Any]:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                log.seek(0)
                said = (log.read().strip().splitlines() or ["nothing"])[-1]
                raise SystemExit(f"error: {python} could not run JoeyNMT, and said: {said}; see --help for --joeynmt")
            found: dict[str, Any] = json.loads(line)
            return found

        def learn(number: int) -> Taken:
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # it has ended; `answer` tells why
                process.stdin.write(f"{number}\n".encode())
            return Taken(**answer())

        with process:
            try:
                yield learn, answer()
            finally:
                process.kill()


def measured(contenders: dict[str, Learn], batches: int) -> dict[str, list[Taken]]:
    """The steps after warm-up, by contender, who take turns.

    Raises:
        SystemExit: those on the same batches do not count the same tokens.
    """
    found: dict[str, list[Taken]] = {name: [] for name in contenders}
    for number in range(batches):
        for name, learn in contenders.items():
            found[name].append(learn(number))
        counts = {name: steps[-1].tokens for name, steps in found.items() if name != RIVAL_ALONE}
        if len(set(counts.values())) > 1:
            raise SystemExit(f"error: the contenders do not learn the same tokens, {counts}; their times say nothing")
    return {name: steps[WARM_UP:] for name, steps in found.items()}


def rate(steps: Sequence[Taken]) -> float:
    """Target tokens per second of the median step."""
    return statistics.median(step.tokens / step.seconds for step in steps)


def measure(table: pl.DataFrame, *, batches: int, threads: int, python: Path | None) -> dict[str, Any]:
    """All contenders in turns, JoeyNMT among them where `python` is given."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    models = {name: declared(contender, threads) for name, contender in CONTENDERS.items()}
    dataset = read_dataset(next(iter(models.values())), table)
    for model in models.values():
        prepare(model, dataset)
    first = next(iter(models.values()))
    same, mixed = batches_of(first, dataset, WARM_UP + batches)
    calls = {name: ours(model, same) for name, model in models.items()}
    found = {"torch": torch.__version__, "threads": threads, "batches": batches}
    weights = {name: sum(weight.numel() for weight in model.parameters()) for name, model in models.items()}
    if python is None:
        return {**found, "contenders": rows(measured(calls, len(same)), weights)}
    words = len(first.outputs["en"].tokenizer) + len(Mark) - len(MARKS)
    with joeynmt(python, [*same, *mixed], words, threads) as (learn, about):
        weights[RIVAL] = weights[RIVAL_ALONE] = about.pop("weights")
        theirs = {RIVAL: learn, RIVAL_ALONE: lambda number: learn(len(same) + number)}
        return {**found, "rival": about, "contenders": rows(measured({**calls, **theirs}, len(same)), weights)}


def rows(steps: dict[str, list[Taken]], weights: dict[str, int]) -> dict[str, dict[str, float]]:
    """What is shown of each contender; the ratios where JoeyNMT is among them."""
    rates = {name: rate(taken) for name, taken in steps.items()}
    table = {}
    for name, taken in steps.items():
        rivals = [rival for rival in (RIVAL, RIVAL_ALONE) if rival in rates]
        table[name] = {"tokens_per_second": rates[name], "weights": weights[name], "last_loss": taken[-1].loss}
        table[name] |= {f"times {rival}": rates[name] / rates[rival] for rival in rivals}
    return table


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--joeynmt", type=Path, metavar="PYTHON", help="interpreter of an environment with JoeyNMT")
    parser.add_argument("--data", type=Path, help="folder with pairs.jsonl")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", type=int, default=20, help="steps of each contender that count")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    table = pl.read_ndjson(arguments.data / "pairs.jsonl") if arguments.data else made_up()
    found = measure(table, batches=arguments.batches, threads=arguments.threads, python=arguments.joeynmt)
    if "rival" in found:
        print(f"JoeyNMT {found['rival']['joeynmt']} with torch {found['rival']['torch']}, ours with {found['torch']}")
        print(f"target tokens per second, and the times of {RIVAL} and of {RIVAL_ALONE}:")
    for name, row in found["contenders"].items():
        ratios = "".join(f"{value:8.2f}" for key, value in row.items() if key.startswith("times"))
        print(f"{name:30}{row['tokens_per_second']:8.0f}{ratios}{row['weights']:12} weights")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
