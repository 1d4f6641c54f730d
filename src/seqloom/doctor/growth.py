"""Growth of the Jacobian: by which factor one more step back makes a gradient longer or shorter."""

from __future__ import annotations

import numpy as np
import torch

from seqloom.doctor.gradient import by_lag, squared_norms
from seqloom.doctor.trace import Track

# A float32 gradient is trusted between these; beyond them it has lost digits or all meaning.
SMALLEST, LARGEST = 1e-25, 1e25


def jacobian_growth(track: Track) -> float:
    """Mean factor per step of the norm of a random gradient that is sent back from a row's final state.

    Below 1 gradients vanish, above 1 they explode, at 1 they live on: it is the exponential of the largest
    Lyapunov exponent of the backward recurrence, with inputs as they are (Pascanu, Mikolov & Bengio, On the
    difficulty of training recurrent neural networks, ICML 2013). NaN for sequences of fewer than three steps.
    """
    parts = [part for state in track.states for part in state if part.is_floating_point()]
    random = torch.Generator().manual_seed(0)
    target = torch.zeros(())
    for last, final in enumerate([*track.states[1:], track.final], start=1):
        ends = track.lengths == last
        if ends.any():
            for part in final:
                if part.is_floating_point():
                    sent = torch.randn(part.shape, generator=random).to(part)
                    target = target + (part * sent)[ends].sum()
    if not target.requires_grad:
        return float("nan")
    gradients = torch.autograd.grad(target, parts, retain_graph=True, allow_unused=True, materialize_grads=True)
    curve = by_lag(squared_norms(list(gradients), len(track.states)), track.lengths)
    return mean_growth(curve)


def mean_growth(curve: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """Geometric mean factor along a curve, over the part that can be trusted."""
    trusted = np.isfinite(curve) & (curve > SMALLEST) & (curve < LARGEST)
    length = int(np.argmin(trusted)) if not trusted.all() else len(curve)
    if length < 2:
        return 0.0 if len(curve) > 1 and curve[1] <= SMALLEST else float("nan")
    return float((curve[length - 1] / curve[0]) ** (1 / (length - 1)))
