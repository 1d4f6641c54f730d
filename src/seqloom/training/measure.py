"""How good a model is on the validation part, while it is being trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from seqloom.batch import Batch, Encoded, cut, in_chunks, own_scales
from seqloom.model import SequenceModel
from seqloom.outputs.output import Places, Reading
from seqloom.predict import in_batches

CELLS = 8192  # steps of all rows together that are read at once where the state can be carried on


class Found(NamedTuple):
    """What one output scored on one chunk of some rows.

    Attributes:
        known: targets that were known.
        loss: mean over them.
        metric: name and mean of its own metric.
    """

    known: int
    loss: float
    metric: tuple[str, float]


@torch.no_grad()
def measure(model: SequenceModel, encoded: Encoded, places: Places) -> dict[str, float]:
    """Mean loss over the places, and each output's own metric, in evaluation mode; empty without any place.

    Memory does not grow with the length of rows that can be read in chunks.
    """
    model.eval()
    sums: dict[str, list[tuple[float, int]]] = {}
    for numbers in in_batches(encoded, places):
        rows = places.take(numbers)
        for name, value in _measure(model, encoded, rows).items():
            if np.isfinite(value) or name == "loss":
                sums.setdefault(name, []).append((value, len(rows.segment)))
    return {n: sum(v * w for v, w in parts) / sum(w for _, w in parts) for n, parts in sums.items()}


def _measure(model: SequenceModel, encoded: Encoded, places: Places) -> dict[str, float]:
    """Loss and metrics of some rows: means over their chunks, weighted by known targets."""
    found: dict[str, list[Found]] = {name: [] for name in model.outputs}
    for batch, reading in _readings(model, encoded, places):
        raw = model.decode(reading)
        for name, output in model.outputs.items():
            scale = batch.scales.get(output.source) if output.source else None
            loss = model.output_loss(name, raw[name], batch).item()
            metric = output.monitor(output.answers(raw[name], scale), batch.targets[name].numpy())
            found[name].append(Found(output.known(batch.targets[name]), loss, metric))
    losses = {name: _mean([(f.loss, f.known) for f in parts]) for name, parts in found.items()}
    scores = {"loss": sum(output.weight * losses[name] for name, output in model.outputs.items())}
    for name, parts in found.items():
        label = parts[0].metric[0] if len(found) == 1 else f"{name} {parts[0].metric[0]}"
        scores[label] = _mean([(f.metric[1], f.known) for f in parts])
    return scores


def _mean(values: list[tuple[float, int]]) -> float:
    """Weighted mean; a chunk without any known target counts for nothing, unless it is the only one."""
    if len(values) == 1:
        return values[0][0]
    total = sum(known for _, known in values)
    return sum(value * known for value, known in values if known) / max(total, 1)


def _readings(model: SequenceModel, encoded: Encoded, places: Places) -> Iterator[tuple[Batch, Reading]]:
    """Some rows as a whole, or chunk by chunk with the state carried, whichever the model allows."""
    steps = max(CELLS // len(places.segment), 1)
    if not model.reads_on or int((places.origin - places.start).max()) <= steps:
        batch = cut(encoded, places, model.inputs, model.outputs)
        yield batch, model.read(batch)[0]
        return
    scales, state = own_scales(encoded, places, model.inputs), None
    for chunk in in_chunks(places, steps):
        batch = cut(encoded, chunk, model.inputs, model.outputs, scales)
        reading, state = model.read(batch, state)
        yield batch, reading
