"""The stabiliser changes the range of numbers and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seqloom.cells.slstm import SLSTM, SLSTMState


def plain(cell: SLSTM, input: Tensor) -> Tensor:
    """The recurrence without stabiliser, step by step; (B, T, H)."""
    H = cell.hidden_size
    h = c = n = input.new_zeros(len(input), H)
    outputs = []
    for x in input.unbind(dim=1):
        i, f, z, o = (x @ cell.weight_ih.T + cell.bias_ih + h @ cell.weight_hh.T + cell.bias_hh).split(H, dim=-1)
        c = torch.sigmoid(f) * c + torch.exp(i) * torch.tanh(z)
        n = torch.sigmoid(f) * n + torch.exp(i)
        h = torch.sigmoid(o) * c / n
        outputs.append(h)
    return torch.stack(outputs, dim=1)


def run(cell: SLSTM, input: Tensor) -> tuple[Tensor, SLSTMState]:
    state = cell.initial_state(len(input))
    outputs = []
    for projected in cell.project(input).unbind(dim=1):
        output, state = cell.step(projected, state)
        outputs.append(output)
    return torch.stack(outputs, dim=1), state


def test_it_is_the_recurrence_without_stabiliser() -> None:
    torch.manual_seed(0)
    cell, input = SLSTM(3, 4).double(), torch.randn(2, 9, 3, dtype=torch.float64)
    torch.testing.assert_close(run(cell, input)[0], plain(cell, input), rtol=1e-12, atol=1e-13)


def test_input_gates_beyond_float32_are_weighed_rightly() -> None:
    """exp(200) and exp(300) overflow; the later step counts almost alone, as it should."""
    cell = SLSTM(1, 1)
    with torch.no_grad():
        for weight in cell.parameters():
            weight.zero_()
        cell.weight_ih[0] = 100.0  # the input gate's logarithm
        cell.weight_ih[2] = 1.0  # the candidate
    input = torch.tensor([[[2.0], [3.0]]])
    assert not bool(torch.isfinite(plain(cell, input)[0, 1]).all())
    output, state = run(cell, input)
    torch.testing.assert_close(output[0, :, 0], 0.5 * torch.tanh(input[0, :, 0]))
    assert all(bool(torch.isfinite(part).all()) for part in state)


@pytest.mark.parametrize("gate", [-50.0, -1000.0])
def test_nothing_stored_gives_zero_and_not_nan(gate: float) -> None:
    cell = SLSTM(2, 3)
    with torch.no_grad():
        cell.bias_ih[:3] = gate
    output, state = run(cell, torch.randn(1, 1, 2))
    output.sum().backward()
    assert bool(torch.isfinite(output).all())
    assert bool((output == 0).all()) == (gate == -1000)
    assert bool((state.n == 0).all()) == (gate == -1000)
    assert all(bool(torch.isfinite(weight.grad).all()) for weight in cell.parameters() if weight.grad is not None)
