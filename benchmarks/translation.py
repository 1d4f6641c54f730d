"""Target tokens per second while training a translation model, with and without input feeding, by attention.

    python benchmarks/translation.py [--data DIR] [--threads 1] [--batches 20] [--json FILE]

Sizes: bidirectional GRU of 256, decoder GRU of 256, embeddings of 256, batches of 128 pairs, 5,900 target words,
float32. DIR is what `recipes/translation/prepare.py` wrote; without it, pairs of random words with the lengths of
Multi30k are made here, which cost the same. A step is forward, backward, clipping and AdamW; the median over batches is
shown, after warm-up. JoeyNMT 2.3 (additive attention, input feeding) was measured at 1,850 tokens per second on two
cores of another machine of the same kind; that figure is not measured again here.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from seqloom.batch import cut, encode, steps_of
from seqloom.dataset import Dataset, part_places, read_dataset
from seqloom.fitting import prepare
from seqloom.model import SequenceModel
from seqloom.recipe import parse_recipe
from seqloom.training.optim import make_optimizer
from seqloom.training.order import Bucketed

ROWS, WORDS, SIZE = 128, 5900, 256
RECORDED = 1850  # JoeyNMT 2.3, target tokens per second
CONTENDERS: dict[str, dict[str, Any]] = {
    "additive": {"attention": "additive"},
    "additive, input feeding": {"attention": "additive", "input_feeding": True},
    "multiplicative": {"attention": "multiplicative"},
    "multiplicative, input feeding": {"attention": "multiplicative", "input_feeding": True},
    "4 heads": {"attention": "multi_head", "heads": 4},
}


def made_up(rows: int = 4000) -> pl.DataFrame:
    """Pairs of random words, about as long as the sentences of Multi30k."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.normal(12, 4, rows).round(), 4, 35).astype(int)

    def text(length: int) -> str:
        return " ".join(f"w{k}" for k in np.minimum(random.zipf(1.2, length), WORDS))

    targets = [text(max(int(n + random.integers(-2, 4)), 2)) for n in lengths]
    return pl.DataFrame({"de": [text(n) for n in lengths], "en": targets, "split": ["train"] * rows})


def declared(options: dict[str, Any], threads: int) -> SequenceModel:
    """The model of one contender."""
    word = {"kind": "text", "tokens": "word", "vocabulary": WORDS, "size": SIZE}
    return SequenceModel(
        parse_recipe(
            {
                "data": {"split": {"column": "split", "valid": 0}},
                "inputs": {"de": word},
                "core": {"cell": "gru", "hidden_size": SIZE, "bidirectional": True},
                "outputs": {"en": {**word, "hidden_size": SIZE, **options}},
                "training": {"batch_size": ROWS, "batch_tokens": 100_000, "threads": threads},
            }
        )
    )


def tokens_per_second(model: SequenceModel, dataset: Dataset, batches: int) -> float:
    """Of the median batch."""
    prepare(model, dataset)
    encoded = encode(dataset.segments, model.inputs, model.outputs)
    places, settings = part_places(model, dataset, "train"), model.recipe.training
    steps = steps_of(encoded, places)
    order = Bucketed(steps, settings.batch_size, settings.batch_tokens or 0, settings.seed)
    optimizer = make_optimizer(model, settings)
    model.train()
    rates = []
    for number in range(batches + 3):
        batch = cut(encoded, places.take(order.rows(number)), model.inputs, model.outputs)
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        model.loss(model(batch), batch).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_norm)
        optimizer.step()
        rates.append(int((batch.targets["en"] >= 0).sum()) / (time.perf_counter() - began))
    return statistics.median(rates[3:])


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with pairs.jsonl")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    table = pl.read_ndjson(arguments.data / "pairs.jsonl") if arguments.data else made_up()
    figures = {}
    for name, options in CONTENDERS.items():
        model = declared(options, arguments.threads)
        dataset = read_dataset(model, table)
        figures[name] = tokens_per_second(model, dataset, arguments.batches)
        print(f"{name:32} {figures[name]:8.0f} target tokens/s, {figures[name] / RECORDED:.1f} times {RECORDED}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"threads": arguments.threads, "tokens_per_second": figures}, indent=2))


if __name__ == "__main__":
    main()
