"""Which lags matter in the data: how far back an input still says something new about the answer.

No model of sequences is involved, so this tells how much memory a model needs, not how much it has.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqloom.batch import Batch, Encoded, cut
from seqloom.doctor.trace import known_steps
from seqloom.model import SequenceModel
from seqloom.outputs.output import Output, Places, Shape

SAMPLES = 4000  # answers looked at, at most
NUMBERS = 20_000_000  # features held at once, at most
FEWEST = 200  # answers without which nothing is said
MOST_CLASSES = 100
PRODUCTS_UP_TO = 8  # features of which all products are taken too
CERTAIN = 3.5  # standard errors above zero: chance does that once in 4,000 blocks
LEAST = 0.005  # of the variance: less is not worth a change of the model
SHARE = 0.9  # of what all lags explain


class Reach(NamedTuple):
    """Which lags matter.

    Attributes:
        steps: the lag within which 90 % of what can be explained lies; None where no lag was found to matter.
        explained: by the first lag of each block 1, 2..3, 4..7, ..., the share of the answer's variance it adds.
        reason: why nothing is known, else empty.
    """

    steps: int | None
    explained: dict[int, float]
    reason: str = ""


def reach(model: SequenceModel, encoded: Encoded, places: Places) -> Reach:
    """Explain each answer lag by lag, the nearest first, and see what further lags still add.

    Every lag's features, and the products of pairs of them, fit what nearer lags left unexplained, by least
    squares on half of the answers. A lag is taken where it helps on a sixth, and counted by how much it helps on
    the remaining third; every answer counts once. A lag that only repeats what nearer ones said adds nothing.
    Dependence that no single step shows, such as parity, is not found.
    """
    found = _answers(model, encoded, places)
    if isinstance(found, str):
        return Reach(None, {}, found)
    features, places_of, target = found
    return _explain(features, places_of, target)


class _Parts(NamedTuple):
    """Which answers fit, choose and confirm, each (N,) bool."""

    fit: Tensor
    choose: Tensor
    confirm: Tensor


def _explain(features: Tensor, anchor: Tensor, target: Tensor) -> Reach:
    """`features` (B, T, F); `anchor` (N, 2) row and step after the last one read; `target` (N, K)."""
    total = (target - target.mean(dim=0)).square().sum(dim=1).mean().item()
    if total <= 0:
        return Reach(None, {}, "the answer never varies")
    gained = torch.zeros(len(target), int(anchor[:, 1].max()) + 1, dtype=torch.float64)
    for parts in _rotations(len(target)):
        gained[parts.confirm] = _gains(features, anchor, target, parts)[parts.confirm]
    found = {}
    for first in _blocks(gained.shape[1] - 1):
        better = gained[:, first : 2 * first].sum(dim=1)
        if better.mean() > max(CERTAIN * better.std().item() / len(better) ** 0.5, LEAST * total):
            found[first] = min(better.mean().item() / total, 1.0)
    if not found:
        return Reach(None, {}, "no lag was found to matter")
    counted = gained.mean(dim=0).clamp(min=0)
    for first in _blocks(len(counted) - 1):
        counted[first : 2 * first] *= first in found
    sums = counted.cumsum(dim=0)
    return Reach(int(torch.argmax((sums >= SHARE * sums[-1]).int())), found)


def _blocks(longest: int) -> list[int]:
    """1, 2, 4, ...: the first lag of each block."""
    return [2**k for k in range(longest.bit_length())]


def _rotations(count: int) -> list[_Parts]:
    """Three ways to part the answers; each answer confirms once."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    third, odd = order % 3, order // 3 % 4 == 0
    return [_Parts((third != k) & ~odd, (third != k) & odd, third == k) for k in range(3)]


def _gains(features: Tensor, anchor: Tensor, target: Tensor, parts: _Parts) -> Tensor:
    """(N, 1 + longest lag) by how much each lag brings the squared error of each answer down."""
    left = target - target[parts.fit].mean(dim=0)
    gained = torch.zeros(len(target), int(anchor[:, 1].max()) + 1, dtype=torch.float64)
    for lag in range(1, gained.shape[1]):
        new = left - _fitted(features, anchor, left, lag, parts.fit)
        better = (left.square() - new.square()).sum(dim=1)
        if _standard_errors(better[parts.choose]) > 1:
            left, gained[:, lag] = new, better
    return gained


def _standard_errors(better: Tensor) -> float:
    """How many of them a mean lies above zero."""
    error = better.std().item() / len(better) ** 0.5
    return float(better.mean().item() / max(error, 1e-30))


def _fitted(features: Tensor, anchor: Tensor, left: Tensor, lag: int, fit: Tensor) -> Tensor:
    """(N, K) what one lag says of what is left; zero for rows too short for it."""
    step = anchor[:, 1] - lag
    has = step >= 0
    rows = has & fit
    if int(rows.sum()) < FEWEST // 4:
        return torch.zeros_like(left)
    x = _with_products(features[anchor[:, 0], step.clamp(min=0)])
    mean, spread = x[rows].mean(dim=0), x[rows].std(dim=0)
    x = ((x - mean) / spread)[:, spread > 1e-6] * has.unsqueeze(1)
    if x.shape[1] == 0:
        return torch.zeros_like(left)
    gram = x[rows].T @ x[rows]
    # A thousandth of the diagonal keeps the solution finite where features repeat each other.
    gram.diagonal().mul_(1.001)
    fitted: Tensor = x @ torch.linalg.solve(gram, x[rows].T @ left[rows])
    return fitted


def _with_products(x: Tensor) -> Tensor:
    """(N, F) with the products of all pairs of few features."""
    F = x.shape[1]
    if F > PRODUCTS_UP_TO:
        return x
    rows, columns = torch.triu_indices(F, F)
    return torch.cat([x, x[:, rows] * x[:, columns]], dim=1)


@torch.no_grad()
def _answers(model: SequenceModel, encoded: Encoded, places: Places) -> tuple[Tensor, Tensor, Tensor] | str:
    """Features, anchors and targets of the first output, or why there are none."""
    name, output = next(iter(model.outputs.items()))
    if name not in encoded.targets:
        return f"the data hold no truth for {name}"
    batch = cut(encoded, _sample(model, places), model.inputs, model.outputs)
    was_training = model.training
    model.eval()
    try:
        features = model.join(batch).values.double()
    finally:
        model.train(was_training)
    anchor, target = _targets(output, batch)
    if len(target) < FEWEST:
        return f"{len(target)} answers are known; expected {FEWEST} or more"
    numbers = as_numbers(target)
    return (features, anchor, numbers) if numbers is not None else f"{name} has too many classes to look at"


def _sample(model: SequenceModel, places: Places) -> Places:
    """Evenly spread rows, as many as memory allows."""
    longest = max(int((places.stop - places.start).max(initial=1)), 1)
    features = sum(input.features for input in model.inputs.values())
    most = max(min(SAMPLES, NUMBERS // (longest * max(features, 1))), 1)
    count = len(places.segment)
    return places if count <= most else places.take(np.linspace(0, count - 1, most).round().astype(np.int64))


def _targets(output: Output, batch: Batch) -> tuple[Tensor, Tensor]:
    """(N, 2) row and step after the last one that is read for an answer; (N, ...) the answers."""
    target = batch.targets[output.name]
    rows = torch.arange(len(target))
    if output.shape is Shape.STEPS:
        found = torch.nonzero(known_steps(target, output.missing))
        chosen = torch.randperm(len(found), generator=torch.Generator().manual_seed(1))[:SAMPLES]
        row, step = found[chosen].T
        return torch.stack([row, step + 1], dim=1), target[row, step]
    scale = batch.scales.get(output.source) if output.source else None
    if scale is not None:
        target = scale.apply(target)
    anchor = torch.stack([rows, batch.origins], dim=1)
    known = known_steps(target.reshape(len(target), 1, -1), output.missing).flatten()
    return anchor[known], target[known]


def as_numbers(target: Tensor) -> Tensor | None:
    """(N, ...) targets to (N, K) float64: whole numbers are classes; None for too many of them."""
    flat = target.reshape(len(target), -1)
    if flat.is_floating_point():
        return flat.double().nan_to_num(0.0)
    classes = int(flat.max()) + 1
    if classes > MOST_CLASSES:
        return None
    return torch.nn.functional.one_hot(flat[:, 0].clamp(min=0), classes).double()
