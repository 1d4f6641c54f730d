"""Cells that are linear in their memory: their numbers stay in range, and their gates do what the papers say."""

from __future__ import annotations

import math

import pytest
import torch

from seqloom.cells.min_lstm import MinLSTM
from seqloom.cells.rg_lru import RGLRU
from seqloom.cells.sru import SRU, SRUState
from seqloom.kernels.scan import linear_scan


def test_min_lstm_gates_add_up_to_one_even_where_both_vanish() -> None:
    """exp(f) / (exp(f) + exp(i)) is 0 / 0 in float32 for gates of -200 and -201; the share is sigmoid(1)."""
    cell = MinLSTM(1, 1)
    with torch.no_grad():
        cell.weight_ih.zero_()
        cell.bias_ih.copy_(torch.tensor([-200.0, -201.0, 2.0]))
    k, b = cell.coefficients(cell.project(torch.zeros(1, 1)))
    share = 1 / (1 + math.exp(-1))
    assert k.item() == pytest.approx(share)
    assert b.item() == pytest.approx(2 * (1 - share))


def test_rg_lru_begins_with_long_memories() -> None:
    torch.manual_seed(0)
    kept = torch.sigmoid(RGLRU(2, 2000).decay.detach()) ** 8
    assert 0.9 <= float(kept.min()) < 0.91
    assert 0.99 < float(kept.max()) <= 0.9991


def test_rg_lru_keeps_the_variance_of_its_state() -> None:
    """Inputs of variance 1 with open gates give a state of variance 1, however long the memory."""
    torch.manual_seed(0)
    cell = RGLRU(1, 200).double()
    with torch.no_grad():
        cell.weight_ih.zero_()
        cell.weight_ih[400:] = 1.0
        cell.bias_ih[:400] = 50.0  # both gates open
        a, b = cell.coefficients(cell.project(torch.randn(300, 100, 1, dtype=torch.float64)))
        last = linear_scan(a, b, cell.initial_state(300).h)[:, -1]
    forgotten = (a[0, 0] ** 100) < 0.05  # these have forgotten that they began at zero
    assert int(forgotten.sum()) > 50
    assert float((last[:, forgotten] ** 2).mean()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("gate", [-200.0, 200.0])
def test_rg_lru_gradients_stay_finite_where_everything_is_kept(gate: float) -> None:
    """A closed recurrence gate gives a = 1, where the root's slope is infinite."""
    cell = RGLRU(2, 3)
    with torch.no_grad():
        cell.bias_ih[:3] = gate
    output, _ = cell.step(cell.project(torch.randn(1, 2)), cell.initial_state(1))
    output.sum().backward()
    assert all(weight.grad is not None and bool(torch.isfinite(weight.grad).all()) for weight in cell.parameters())


def test_sru_passes_memory_or_input_on() -> None:
    torch.manual_seed(0)
    cell = SRU(2, 3).double()
    x, state = torch.randn(4, 2, dtype=torch.float64), SRUState(torch.randn(4, 3, dtype=torch.float64))
    with torch.no_grad():
        cell.weight_ih[3:9] = 0  # both gates follow their bias
        cell.bias_ih.copy_(torch.tensor([900.0] * 3 + [-900.0] * 3))
    output, new = cell.step(cell.project(x), state)
    torch.testing.assert_close(output, x @ cell.weight_ih[9:].T)  # the highway
    torch.testing.assert_close(new.c, state.c)  # an open forget gate keeps all
    with torch.no_grad():
        cell.bias_ih.copy_(torch.tensor([-900.0] * 3 + [900.0] * 3))
    output, new = cell.step(cell.project(x), state)
    torch.testing.assert_close(new.c, x @ cell.weight_ih[:3].T)
    torch.testing.assert_close(output, torch.tanh(new.c))
