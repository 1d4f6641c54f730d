"""How good a model is on the validation part, while it is being trained."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from seqloom.batch import Encoded
from seqloom.model import SequenceModel
from seqloom.outputs.output import Places
from seqloom.predict import in_batches, read_rows


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
    for batch, reading, raw in read_rows(model, encoded, places):
        for name, answer in raw.items():
            output = model.outputs[name]
            scale = batch.scales.get(output.source) if output.source else None
            loss = model.output_loss(name, answer, batch).item()
            metric = output.watch(reading, answer, batch.targets[name], scale)
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
