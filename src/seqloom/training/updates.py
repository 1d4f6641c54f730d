"""How far one step moves the weights, relative to their size: what tells a learning rate too high from one too low."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqloom.model import SequenceModel

Parts = dict[str, list[Tensor]]


def weights_by_part(model: SequenceModel) -> Parts:
    """Copies of the trained weights by part: `inputs`, `front`, `layer 1`, `layer 2` and so on, `outputs`."""
    return {name: [weight.detach().clone() for weight in found] for name, found in _parts(model).items()}


def relative_updates(model: SequenceModel, before: Parts) -> dict[str, float]:
    """By part, the norm of the change since `before` over the norm of the weights then; empty where that is."""
    now = _parts(model)
    return {name: _ratio(now[name], former) for name, former in before.items()}


def _parts(model: SequenceModel) -> Parts:
    modules: dict[str, nn.Module] = {"inputs": nn.ModuleList(model.inputs.values()), "front": model.front}
    modules |= {f"layer {depth}": nn.ModuleList(cells) for depth, cells in enumerate(model.core.cells(), start=1)}
    modules["outputs"] = nn.ModuleList(model.outputs.values())
    weights: Parts = {name: [w for w in part.parameters() if w.requires_grad] for name, part in modules.items()}
    return {name: found for name, found in weights.items() if found}


@torch.no_grad()
def _ratio(now: list[Tensor], before: list[Tensor]) -> float:
    moved = torch.stack([(new - old).norm() for new, old in zip(now, before, strict=True)]).norm()
    size = torch.stack([old.norm() for old in before]).norm()
    return (moved / size).item() if size > 0 else 0.0
