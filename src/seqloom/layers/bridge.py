"""`Bridge`: from the state in which one stack ended to the state in which another begins."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seqloom.layers.linear import Linear


class Bridge(nn.Module):
    """A learned map from all layers and directions of a stack that has read to each layer of one that will write.

    Every part h or c of the new state is `tanh(W s + b)`, or for c, which has no bounds, `W s + b`, where s is all
    such parts of the final state side by side (after Bahdanau et al., 2015, appendix A.2.2, where s is one of them).
    The stacks may differ in cell, layers, size and direction. Of a state with further parts (a normaliser, a
    count) only h is handed over: the others mean something together, and begin as the cell begins.

    Args:
        source: a state of the stack that has read, of any number of rows.
        target: a state of the stack that will write.
    """

    def __init__(self, source: Any, target: Any) -> None:
        super().__init__()
        width = sum(part.shape[1] for part in _all_parts(source))
        places = _each_part(target) if width else []
        self.maps = nn.ModuleDict({f"{place}-{name}": Linear(width, part.shape[1]) for place, name, part in places})

    def forward(self, final: Any, begin: Any) -> Any:
        """The state to begin with, B rows.

        Args:
            final: of the source, B rows.
            begin: the target's own initial state, B rows; parts that are not handed over stay as they are here.
        """
        parts = _all_parts(final)
        if not parts:
            return begin
        joined = torch.cat(parts, dim=1)
        found: dict[str, dict[str, Tensor]] = {}
        for place, name, own in _each_part(begin):
            # Memory keeps its precision under automatic casting, which rounds what a linear layer gives.
            mapped = self.maps[f"{place}-{name}"](joined).to(own.dtype)
            found.setdefault(place, {})[name] = torch.tanh(mapped) if name == "h" else mapped
        return tuple(
            tuple(cell._replace(**found.get(f"{depth}-{way}", {})) for way, cell in enumerate(layer))
            for depth, layer in enumerate(begin)
        )


def _handed(cell: Any) -> list[str]:
    """The names of the parts of a cell's state that are handed over."""
    fields: tuple[str, ...] = cell._fields
    return [name for name in fields if name == "h" or (name == "c" and set(fields) <= {"h", "c"})]


def _each_part(state: Any) -> list[tuple[str, str, Tensor]]:
    """Layer and direction, name and value of every part that is handed over."""
    return [
        (f"{depth}-{way}", name, getattr(cell, name))
        for depth, layer in enumerate(state)
        for way, cell in enumerate(layer)
        for name in _handed(cell)
    ]


def _all_parts(state: Any) -> list[Tensor]:
    return [part for _, _, part in _each_part(state)]
