"""Cells around a cell: what can be done to any recurrence without touching it."""

from __future__ import annotations

from seqloom.cells.cell import Cell
from seqloom.wrappers.learned_state import LearnedState
from seqloom.wrappers.recurrent_dropout import RecurrentDropout
from seqloom.wrappers.zoneout import Zoneout


def wrap(cell: Cell, *, learned_state: bool = False, recurrent_dropout: float = 0.0, zoneout: float = 0.0) -> Cell:
    """A cell with the options that are on, from the inside: learned state, recurrent dropout, zoneout."""
    if learned_state:
        cell = LearnedState(cell)
    if recurrent_dropout:
        cell = RecurrentDropout(cell, recurrent_dropout)
    return Zoneout(cell, zoneout) if zoneout else cell
