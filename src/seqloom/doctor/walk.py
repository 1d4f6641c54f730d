"""Every valid step of a traced cell as one row: inputs, states, and all that the equations name."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqloom.doctor.trace import Track
from seqloom.gates import Values, equations_of, evaluate, gate_functions, kept


class Walk(NamedTuple):
    """N valid steps of all rows.

    Attributes:
        outputs: (N, H).
        state: what each step started from, a named tuple of (N, ...).
        values: by name, (N, H) of all gates; None where the cell has no equations.
        functions: by gate, the function that makes it.
        shares: by state, the share (N, ...) that is kept.
    """

    outputs: Tensor
    state: Any
    values: Values | None
    functions: dict[str, str]
    shares: Values


@torch.no_grad()
def walk(track: Track) -> Walk:
    """The steps of a track, time first."""
    valid = track.valid
    outputs = torch.stack(track.outputs)[valid]
    kind = type(track.final)
    state = kind(*(torch.stack(list(parts)).detach()[valid] for parts in zip(*track.states, strict=True)))
    if not equations_of(track.cell):
        return Walk(outputs, state, None, {}, {})
    x = torch.cat(track.inputs, dim=1).transpose(0, 1)[valid].detach()
    values = evaluate(track.cell, x, state)
    found = kept(track.cell, values, state)
    shares = {name: torch.as_tensor(share).expand_as(getattr(state, name)) for name, share in found.items()}
    return Walk(outputs, state, values, gate_functions(track.cell), shares)
