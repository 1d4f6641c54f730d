"""`Recurrent`: a stack of any cell, in one or both directions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from seqloom.cells.cell import Cell
from seqloom.kernels import choose
from seqloom.layers.cuts import Cuts, cut_at
from seqloom.sequences import Sequences
from seqloom.state import select, where


class Recurrent(nn.Module):
    """Layers of one cell; each layer returns its whole sequence to the next.

    State is a tuple with one entry for each layer, itself a tuple with one cell state for each direction. Of a cell
    that reads elapsed time, the first feature of the input is that time, and every layer is shown it.

    Args:
        cell: class of the recurrence.
        input_size: features F of the input, the elapsed time included.
        hidden_size: H of each cell.
        num_layers: layers L, at least 1.
        bidirectional: also read each row backwards from its true end; such a stack cannot stream.
        dropout: share of features dropped between layers, 0 <= dropout < 1.
        backend: kernel name, or `auto` for the fastest that can run.
        options: further arguments of the cell, such as `proj_size`.
        wrap: what is put around each cell, see `seqloom.wrappers`; omitted: nothing.
    """

    def __init__(
        self,
        cell: type[Cell],
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bidirectional: bool = False,
        dropout: float = 0.0,
        backend: str = "auto",
        options: Mapping[str, Any] | None = None,
        wrap: Callable[[Cell], Cell] | None = None,
    ) -> None:
        super().__init__()
        self.bidirectional = bidirectional
        self.backend = backend
        self.options = dict(options or {})
        self.dropout = nn.Dropout(dropout)
        self.reads_elapsed = cell.reads_elapsed
        self.layers = nn.ModuleList()
        for _ in range(num_layers):
            made = [cell(input_size, hidden_size, **self.options) for _ in range(2 if bidirectional else 1)]
            directions = [wrap(one) for one in made] if wrap else made
            self.layers.append(nn.ModuleList(directions))
            self.output_size = sum(direction.output_size for direction in directions)
            input_size = self.output_size + self.reads_elapsed

    def cells(self) -> list[list[Cell]]:
        """The cells, by layer and direction."""
        return [[cast(Cell, cell) for cell in cast(nn.ModuleList, layer)] for layer in self.layers]

    def initial_state(self, batch_size: int) -> Any:
        """The state of every layer and direction before the first step."""
        return tuple(tuple(cell.initial_state(batch_size) for cell in layer) for layer in self.cells())

    def bare_state(self, state: Any) -> Any:
        """The state of the cells inside all wrappers, for a stack that runs on from it."""
        return tuple(
            tuple(cell.bare_state(part) for cell, part in zip(layer, parts, strict=True))
            for layer, parts in zip(self.cells(), state, strict=True)
        )

    def forward(self, input: Sequences, state: Any = None, *, reset: Tensor | None = None) -> tuple[Sequences, Any]:
        """Outputs (B, T, D*H), zero on padding, and the state after each row's last valid step.

        Args:
            input: (B, T, F).
            state: before the first step; omitted: the initial one.
            reset: (B, T) bool, True where a row's state goes back to the initial one before that step: what comes
                before and what comes from there on are sequences of their own, in both directions.

        Raises:
            UsageError: `reset` is no boolean (B, T).
        """
        if state is None:
            state = self.initial_state(len(input.lengths))
        if reset is not None:
            return self._in_pieces(cut_at(input, reset), state)
        final, output = [], input
        for depth, (layer, layer_state) in enumerate(zip(self.cells(), state, strict=True)):
            if depth:
                input = self.above(output.with_values(self.dropout(output.values)), input)
            output, layer_final = self._layer(layer, input, layer_state)
            final.append(layer_final)
        return output, tuple(final)

    def drop(self, input: Sequences) -> Sequences:
        """Dropout of the first layer's input; the elapsed time is no feature to drop."""
        dropped = input.with_values(self.dropout(input.values))
        return self.above(dropped.with_values(dropped.values[..., 1:]), input) if self.reads_elapsed else dropped

    def above(self, output: Sequences, input: Sequences) -> Sequences:
        """What the layer above reads of a layer's output: with the elapsed time in front, where cells read that."""
        if not self.reads_elapsed:
            return output
        return output.with_values(torch.cat([input.values[..., :1], output.values], dim=-1))

    def _layer(self, layer: list[Cell], input: Sequences, state: Any) -> tuple[Sequences, Any]:
        output, final = self._run(layer[0], input, state[0])
        if not self.bidirectional:
            return output, (final,)
        backward, backward_final = self._run(layer[1], input, state[1], reverse=True)
        return input.with_values(torch.cat([output.values, backward.values], dim=-1)), (final, backward_final)

    def _run(self, cell: Cell, input: Sequences, state: Any, *, reverse: bool = False) -> tuple[Sequences, Any]:
        lowered, begin = cell.lower(state)
        kernel = choose(lowered, input, self.backend).kernel
        output, final = kernel.run(lowered, input, begin, reverse=reverse)
        return output, cell.lift(state, final)

    def _in_pieces(self, cuts: Cuts, state: Any) -> tuple[Sequences, Any]:
        """Pieces side by side as rows; the state given enters the first one, or the last one on the way back."""
        initial = self.initial_state(len(cuts.row))
        begin = tuple(
            tuple(
                where(enters, select(given, cuts.row), new)
                for enters, given, new in zip((cuts.enters, cuts.enters_backward), layer, fresh, strict=False)
            )
            for layer, fresh in zip(state, initial, strict=True)
        )
        output, final = self(cuts.pieces, begin)
        ends = (cuts.last, cuts.first)
        return cuts.join(output), tuple(
            tuple(select(part, end) for part, end in zip(layer, ends, strict=False)) for layer in final
        )
