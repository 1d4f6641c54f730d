"""Cells that torch has too: its weights, its numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from seqloom.cells.cell import Cell
from seqloom.cells.gru import GRU
from seqloom.cells.lstm import LSTM
from seqloom.cells.projected_lstm import ProjectedLSTM
from seqloom.cells.relu_rnn import ReLURNN
from seqloom.cells.rnn import RNN
from seqloom.errors import UsageError
from seqloom.layers.recurrent import Recurrent
from seqloom.sequences import Sequences

PAIRS: list[tuple[type[Cell], dict[str, Any], type[nn.RNNBase], dict[str, Any]]] = [
    (LSTM, {}, nn.LSTM, {}),
    (GRU, {}, nn.GRU, {}),
    (RNN, {}, nn.RNN, {}),
    (ReLURNN, {}, nn.RNN, {"nonlinearity": "relu"}),
    (ProjectedLSTM, {"proj_size": 2}, nn.LSTM, {"proj_size": 2}),
]


@pytest.mark.parametrize(("kind", "options", "layer", "arguments"), PAIRS)
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_a_stack_is_torchs(
    kind: type[Cell], options: dict[str, Any], layer: type[nn.RNNBase], arguments: dict[str, Any], backend: str
) -> None:
    """The same weights under the same names give the same outputs and final states, two layers in both directions."""
    torch.manual_seed(0)
    ours = Recurrent(kind, 3, 5, 2, bidirectional=True, options=options, backend=backend).double()
    theirs = layer(3, 5, 2, batch_first=True, bidirectional=True, **arguments).double()
    copied = set()
    with torch.no_grad():
        for depth, cells in enumerate(ours.cells()):
            for way, cell in zip(("", "_reverse"), cells, strict=True):
                for name, weight in cell.named_parameters():
                    getattr(theirs, f"{name}_l{depth}{way}").copy_(weight)
                    copied.add(f"{name}_l{depth}{way}")
    assert copied == set(theirs.state_dict())
    input = torch.randn(4, 6, 3, dtype=torch.float64)
    output, state = ours(Sequences.full(input))
    expected, final = theirs(input)
    torch.testing.assert_close(output.values, expected, rtol=1e-11, atol=1e-12)
    for field, part in enumerate(final if isinstance(final, tuple) else (final,)):
        found = torch.stack([cell_state[field] for ways in state for cell_state in ways])
        torch.testing.assert_close(found, part, rtol=1e-11, atol=1e-12)


def test_a_projection_narrows_output_and_state() -> None:
    layer = Recurrent(ProjectedLSTM, 3, 8, 2, options={"proj_size": 2})
    output, state = layer(Sequences.full(torch.zeros(1, 4, 3)))
    assert output.values.shape == (1, 4, 2)
    assert [(part.h.shape[1], part.c.shape[1]) for (part,) in state] == [(2, 8), (2, 8)]
    assert layer.cells()[1][0].input_size == 2


@pytest.mark.parametrize("size", [0, 9])
def test_a_projection_out_of_range_is_named(size: int) -> None:
    with pytest.raises(UsageError, match=f"proj_size is {size}; expected 1 to 8, the hidden_size it narrows"):
        ProjectedLSTM(3, 8, proj_size=size)
