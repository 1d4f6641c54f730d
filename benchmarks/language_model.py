"""Time for an epoch of the language model in `recipes/`, beside the same model on `torch.nn.LSTM`.

    python benchmarks/language_model.py [--data DIR] [--threads 1] [--steps 30] [--json FILE]

DIR is what `recipes/language-model/prepare.py` wrote; without it a text of random words is made here, as long as the
Penn Treebank's training part and with as many different words, which costs the same. Contenders:

    seqloom                     the recipe's model and way of learning, in float32
    torch.nn.LSTM               the same weights in a module of torch's own parts, as one would write it, in float32
    seqloom, bfloat16           the recipe as it is
    torch.nn.LSTM, bfloat16     torch's module under `torch.autocast`

Before anything is timed, losses and gradients of the first two are compared, without dropout. A step is forward,
backward, clipping and AdamW, one piece of text on from the step before; all contenders read the same pieces, and only
ours also cuts them. They take turns, a step each, with the same threads; the median of `--steps` is shown with the
middle half of the samples, after three steps that warm up. No epoch is run to its end: its time is the median times
the steps of an epoch, and is called extrapolated.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from seqloom.batch import encode
from seqloom.dataset import Dataset, part_places, read_dataset
from seqloom.fitting import prepare
from seqloom.model import SequenceModel
from seqloom.outputs.items import Target
from seqloom.recipe import TrainingSettings, load_recipe
from seqloom.training.lessons import Material
from seqloom.training.optim import make_optimizer
from seqloom.training.streams import Streams

RECIPE = Path(__file__).parents[1] / "recipes" / "language-model" / "recipe.yaml"
WORDS, VOCABULARY = 929_589, 10_000  # of the training part, sentence ends included
WARM_UP = 3
TOLERANCE = 1e-3  # of the largest value: float32 in another order of sums
RIVAL = "torch.nn.LSTM"

Learn = Callable[[int], float]  # piece 0, 1, ...: its loss, with gradients added to the weights


def made_up(words: int = WORDS, vocabulary: int = VOCABULARY) -> pl.DataFrame:
    """A text of random words with few that are frequent and many that are rare; each stands in it."""
    random = np.random.default_rng(0)
    drawn = np.minimum(random.zipf(1.2, words), vocabulary) - 1
    drawn[random.permutation(words)[:vocabulary]] = np.arange(vocabulary)
    text = [f"w{word}" for word in drawn]
    parts = {"train": text, "valid": text[:1000], "test": text[:1000]}
    return pl.DataFrame({"id": list(parts), "words": list(parts.values()), "split": list(parts)})


class Plain(nn.Module):
    """The recipe's model in torch's own parts: embedding, LSTM, and scores by the embedding (tied weights)."""

    def __init__(self, words: int, size: int, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words + 1, size)  # code 0 is a word that training does not know
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(size, hidden_size, batch_first=True)
        self.project = nn.Linear(hidden_size, size)
        self.bias = nn.Parameter(torch.zeros(words))

    def forward(self, codes: Tensor, following: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Mean loss of words (B, T) that are followed by words (B, T), and the state after them."""
        outputs, state = self.lstm(self.dropout(self.embedding(codes)), state)
        query = self.project(self.dropout(outputs))
        scores = query @ self.embedding.weight[1:].t() + self.bias
        return cross_entropy(scores.flatten(0, 1).float(), following.flatten(), ignore_index=-1), state

    def counterparts(self, model: SequenceModel) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:
        """By name, each weight here and the same one of our model."""
        (given,), (answer,) = model.inputs.values(), model.outputs.values()
        ((cell,),) = model.core.cells()
        theirs = {f"lstm.{name}_l0": weight for name, weight in cell.named_parameters()}
        theirs["embedding.weight"] = given.get_parameter("embedding.weight")
        theirs |= {name: answer.get_parameter(name) for name in ("project.weight", "project.bias", "bias")}
        return {name: (weight, theirs[name]) for name, weight in self.named_parameters()}


def lessons(table: pl.DataFrame | Path, overrides: Sequence[str]) -> Streams:
    """The recipe's model, built, with the text it learns."""
    recipe, _ = load_recipe(RECIPE, overrides)
    model = SequenceModel(recipe)
    dataset: Dataset = read_dataset(model, table)
    prepare(model, dataset)
    encoded = encode(dataset.segments, model.inputs, model.outputs)
    places = part_places(model, dataset, "train")
    return Streams(model, Material(encoded, places, places))


def pieces(streams: Streams, number: int) -> list[tuple[Tensor, Tensor]]:
    """Words and the words that follow, (B, T) each, of so many pieces; -1 where none is asked for."""
    found = []
    for k in range(number):
        ((batch, _),) = streams.reads(k)
        (codes,), (target,) = batch.inputs.values(), batch.targets.values()
        found.append((codes[..., 0], Target.of(target).next.clamp(min=-1)))
    return found


def plain_learn(model: Plain, text: Sequence[tuple[Tensor, Tensor]], *, low: bool) -> Learn:
    """Piece by piece with the state carried on, cut from the graph."""
    state: Any = None

    def learn(number: int) -> float:
        nonlocal state
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low):
            loss, after = model(*text[number], state)
        state = tuple(part.detach() for part in after)
        loss.backward()
        return loss.item()

    return learn


def step_of(model: nn.Module, learn: Learn, settings: TrainingSettings, *, deterministic: bool) -> Callable[[], None]:
    """A training step, each call one piece on."""
    optimizer, number = make_optimizer(model, settings), count()
    model.train()

    def step() -> None:
        torch.use_deterministic_algorithms(deterministic)
        optimizer.zero_grad(set_to_none=True)
        learn(next(number))
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_norm)
        optimizer.step()
        torch.use_deterministic_algorithms(False)

    return step


def plain_like(streams: Streams) -> Plain:
    """The model in torch's parts, with the weights of ours."""
    model = streams.model
    (given,), (answer,) = model.inputs.values(), model.outputs.values()
    core, words = model.recipe.core, len(answer.get_parameter("bias"))
    plain = Plain(words, given.features, core.hidden_size, core.dropout)
    with torch.no_grad():
        for mine, theirs in plain.counterparts(model).values():
            mine.copy_(theirs)
    return plain


def require_same(streams: Streams, plain: Plain, text: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Losses and gradients of the first piece, without dropout, or the times are worth nothing."""
    streams.model.eval()
    plain.eval()
    losses = streams.learn(0, 1.0), plain_learn(plain, text, low=False)(0)
    off = {"loss": abs(losses[0] / losses[1] - 1)}
    for name, (mine, theirs) in plain.counterparts(streams.model).items():
        assert mine.grad is not None
        assert theirs.grad is not None
        off[f"gradient of {name}"] = ((mine.grad - theirs.grad).abs().max() / theirs.grad.abs().max()).item()
    worst = max(off, key=lambda name: off[name])
    if not off[worst] <= TOLERANCE:
        raise SystemExit(f"error: the contenders differ in the {worst} by {off[worst]:.2g}; their times say nothing")


def contenders(
    table: pl.DataFrame | Path, overrides: Sequence[str], steps: int
) -> tuple[dict[str, Callable[[], None]], int]:
    """A training step of each, the first two compared; and the steps of an epoch."""
    found: dict[str, Callable[[], None]] = {}
    for precision in ("float32", "bfloat16"):
        streams = lessons(table, [*overrides, f"training.precision={precision}"])
        settings, low = streams.settings, precision == "bfloat16"
        text = pieces(streams, steps)
        plain = plain_like(streams)
        if not low:
            require_same(streams, plain, text)
        end = ", bfloat16" * low
        found[f"seqloom{end}"] = step_of(
            streams.model, lambda k, s=streams: s.learn(k, 1.0), settings, deterministic=settings.deterministic
        )
        found[RIVAL + end] = step_of(plain, plain_learn(plain, text, low=low), settings, deterministic=False)
    return found, int(streams.per_epoch)


def measure(table: pl.DataFrame | Path, overrides: Sequence[str], *, steps: int, threads: int) -> dict[str, Any]:
    """All contenders in turns."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    calls, per_epoch = contenders(table, overrides, WARM_UP + steps)
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(WARM_UP + steps):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            samples[name].append(time.perf_counter() - began)
    rows = {name: summary(found[WARM_UP:], per_epoch) for name, found in samples.items()}
    rival = rows[RIVAL]["seconds_per_step"]
    for row in rows.values():
        row[f"times_faster_than_{RIVAL}"] = rival / row["seconds_per_step"]
    return {
        "torch": torch.__version__,
        "threads": threads,
        "steps": steps,
        "steps_per_epoch": per_epoch,
        "contenders": rows,
    }


def summary(seconds: Sequence[float], per_epoch: int) -> dict[str, float]:
    """Median and quartiles of a step, and what an epoch of such steps would take."""
    low, median, high = np.quantile(seconds, [0.25, 0.5, 0.75]).tolist()
    return {
        "seconds_per_step": median,
        "quartile_1": low,
        "quartile_3": high,
        "seconds_per_epoch_extrapolated": median * per_epoch,
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with words.jsonl")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=30, help="samples of each contender")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    found = measure(arguments.data or made_up(), [], steps=arguments.steps, threads=arguments.threads)
    print(f"an epoch has {found['steps_per_epoch']} steps; its time is extrapolated from {arguments.steps} of them")
    for name, row in found["contenders"].items():
        step, low, high = (1e3 * row[key] for key in ("seconds_per_step", "quartile_1", "quartile_3"))
        epoch, faster = row["seconds_per_epoch_extrapolated"], row[f"times_faster_than_{RIVAL}"]
        print(
            f"{name:24} {step:7.1f} ms a step ({low:.1f} to {high:.1f}), {epoch:5.0f} s an epoch, "
            f"{faster:.2f} times as fast as {RIVAL}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
