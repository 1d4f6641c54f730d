"""What the log says of the course of training: clipping, updates, loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqloom.recipe import TrainingSettings


@dataclass(frozen=True)
class Course:
    """Of all logged steps after the warm-up, or of all where there are no others.

    Attributes:
        steps: logged steps.
        clipped: share of steps whose gradient was scaled down.
        norm: median norm of the gradient before that.
        high_norm: its 90th percentile.
        updates: by part of the model, the largest move of one step relative to the size of its weights.
        first_loss, last_loss: medians over the first and the last tenth of the steps, at least five.
    """

    steps: int
    clipped: float
    norm: float
    high_norm: float
    updates: Mapping[str, float]
    first_loss: float
    last_loss: float


def course(log: Sequence[Mapping[str, Any]], settings: TrainingSettings) -> Course | None:
    """From the lines of `log.jsonl`; None where it holds no norms of gradients."""
    steps = [line for line in log if "norm" in line]
    if not steps:
        return None
    settled = [line for line in steps if line["step"] > settings.warmup_steps] or steps
    norms = np.array([line["norm"] for line in settled])
    losses = [line["loss"] for line in steps]
    tenth = max(len(steps) // 10, 5)
    updates: dict[str, float] = {}
    for line in steps:
        for part, ratio in line.get("updates", {}).items():
            updates[part] = max(updates.get(part, 0.0), ratio)
    return Course(
        steps=len(steps),
        clipped=float((norms > settings.max_norm).mean()),
        norm=float(np.median(norms)),
        high_norm=float(np.quantile(norms, 0.9)),
        updates=updates,
        first_loss=float(np.median(losses[:tenth])),
        last_loss=float(np.median(losses[-tenth:])),
    )
