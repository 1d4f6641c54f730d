"""The bridge: every part of a final state reaches every part of the state that begins, whatever the two stacks are."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from catalogue import CELLS
from seqloom.cells.cell import Cell
from seqloom.cells.gru import GRU
from seqloom.cells.lstm import LSTM
from seqloom.layers.bridge import Bridge
from seqloom.layers.recurrent import Recurrent
from seqloom.lookup import find
from seqloom.sequences import Sequences
from seqloom.state import map_state


def test_values_follow_the_equation() -> None:
    torch.manual_seed(0)
    source, target = Recurrent(GRU, 2, 3, 2, bidirectional=True), Recurrent(LSTM, 2, 4)
    bridge = Bridge(source.initial_state(1), target.initial_state(1))
    _, final = source(Sequences.full(torch.randn(5, 6, 2)))
    ((state,),) = bridge(final, target.initial_state(5))
    joined = torch.cat([final[0][0].h, final[0][1].h, final[1][0].h, final[1][1].h], dim=1)
    torch.testing.assert_close(state.h, torch.tanh(bridge.maps["0-0-h"](joined)))
    torch.testing.assert_close(state.c, bridge.maps["0-0-c"](joined))


@pytest.mark.parametrize(("read", "write"), list(itertools.product(CELLS, CELLS)))
def test_any_cell_hands_over_to_any_cell(read: str, write: str) -> None:
    torch.manual_seed(0)
    source = Recurrent(find("cells", read, Cell), 2, 3, 2, bidirectional=True)
    target = Recurrent(find("cells", write, Cell), 2, 4, 3)
    bridge = Bridge(source.initial_state(1), target.initial_state(1))
    _, final = source(Sequences.full(torch.randn(2, 4, 2)))
    own = target.initial_state(2)
    begin = bridge(final, own)
    target(Sequences.full(torch.randn(2, 2, 2)), begin)
    for layer, before in zip(begin, own, strict=True):
        moved = {
            name for name in layer[0]._fields if not torch.equal(getattr(layer[0], name), getattr(before[0], name))
        }
        assert moved == set(handed(layer[0]))
    # Every layer and direction of the source matters, in the parts that are handed over.
    names = [(cell, name) for layer in final for cell in layer for name in cell._fields]
    (first, *_), *_ = begin
    name = handed(first)[0]
    for k, (cell, part) in enumerate(names):
        other = getattr(bridge(bumped(final, k), own)[0][0], name)
        assert torch.equal(other, getattr(first, name)) == (part not in handed(cell))


def handed(cell: Any) -> list[str]:
    """h, and c where the two are all."""
    return [name for name in cell._fields if name in ({"h", "c"} if set(cell._fields) <= {"h", "c"} else {"h"})]


def bumped(state: Any, place: int) -> Any:
    """The state with one of its tensors, counted in order, raised by one."""
    number = itertools.count()
    return map_state(lambda part: part + 1.0 if next(number) == place else part, state)


@pytest.mark.parametrize("write", CELLS)
def test_under_automatic_casting_memory_stays_float32(write: str) -> None:
    """Every kernel takes the state that begins, and it is not rounded to the 8 bits of a linear layer's result."""
    torch.manual_seed(0)
    source, target = Recurrent(GRU, 2, 3), Recurrent(find("cells", write, Cell), 2, 4)
    bridge = Bridge(source.initial_state(1), target.initial_state(1))
    with torch.autocast("cpu", torch.bfloat16):
        _, final = source(Sequences.full(torch.randn(2, 4, 2)))
        begin = bridge(final, target.initial_state(2))
        target(Sequences.full(torch.randn(2, 3, 2)), begin)
    parts = [part for layer in begin for cell in layer for part in cell]
    assert {part.dtype for part in parts if part.is_floating_point()} == {torch.float32}
