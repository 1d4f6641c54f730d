"""How much of the gradient is left after so many steps back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqloom.doctor.trace import Trace, Track, anchors, with_one_target
from seqloom.model import SequenceModel

Curve = npt.NDArray[np.float64]


def gradient_by_lag(model: SequenceModel, traced: Trace) -> dict[str, Curve]:
    """For each cell, the norm of the gradient of the loss with respect to its state, by lag.

    Lag 1 is the state that the last step before the answer starts from. Norms are root mean squares over the rows
    that reach back so far.

    Returns:
        By name of the track, (longest lag,) from lag 1 on.
    """
    found = {}
    for backward in {track.backward: None for track in traced.tracks}:
        tracks = [track for track in traced.tracks if track.backward == backward]
        batch = with_one_target(model, traced.batch, backward)
        loss = model.loss(traced.raw, batch)
        leaves = [part for track in tracks for part in _parts(track)]
        gradients = torch.autograd.grad(loss, leaves, retain_graph=True, allow_unused=True, materialize_grads=True)
        places = anchors(model, traced.batch, backward)
        start = 0
        for track in tracks:
            count = len(_parts(track))
            norms = squared_norms(list(gradients[start : start + count]), len(track.states))
            found[track.name] = by_lag(norms, places)
            start += count
    return found


def _parts(track: Track) -> list[Tensor]:
    return [part for state in track.states for part in state if part.is_floating_point()]


def squared_norms(gradients: list[Tensor], steps: int) -> Tensor:
    """(T, B) float64: squared norm over all parts of a state, from the parts of every step one after another."""
    each = len(gradients) // max(steps, 1)
    squares = [gradient.double().flatten(1).square().sum(dim=1) for gradient in gradients]
    return torch.stack([torch.stack(squares[k * each : (k + 1) * each]).sum(dim=0) for k in range(steps)])


def by_lag(squares: Tensor, places: Tensor) -> Curve:
    """From squares (T, B) at steps to the root of their mean at lags 1.. before each row's place (B,).

    The first step is left out: what it starts from is given, and holds nothing that was read.
    """
    T = len(squares)
    found = []
    for lag in range(1, int(places.max()) + 1 if len(places) else 1):
        step = places - lag
        rows = torch.nonzero((step >= 1) & (step < T)).flatten()
        if len(rows):
            found.append(squares[step[rows], rows].mean().sqrt().item())
    return np.array(found)
