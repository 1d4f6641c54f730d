"""Where the norms sit: what each of them makes blind, and what it does not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seqloom.cells.gru import GRU, GRUState
from seqloom.cells.layer_norm_gru import LayerNormGRU
from seqloom.cells.layer_norm_lstm import LayerNormLSTM
from seqloom.cells.lstm import LSTMState

H = 6


def lstm() -> tuple[LayerNormLSTM, Tensor, LSTMState]:
    torch.manual_seed(0)
    cell = LayerNormLSTM(3, H).double()
    h, c, x = (torch.randn(2, n, dtype=torch.float64) for n in (H, H, 3))
    return cell, x.unsqueeze(1), LSTMState(h, c)


@pytest.mark.parametrize("kind", [LayerNormLSTM, LayerNormGRU])
def test_the_scale_of_input_and_output_weights_is_blinded(kind: type[LayerNormLSTM | LayerNormGRU]) -> None:
    torch.manual_seed(0)
    cell = kind(3, H).double()
    x = 9 * torch.randn(2, 1, 3, dtype=torch.float64)
    state = cell.initial_state(2)
    state = state._replace(h=9 * torch.randn_like(state.h))
    before, _ = cell.step(cell.project(x)[:, 0], state)
    with torch.no_grad():
        cell.weight_ih *= 5
        cell.weight_hh *= 0.2
    after, _ = cell.step(cell.project(x)[:, 0], state)
    torch.testing.assert_close(after, before, rtol=0, atol=2e-3)  # the 1e-5 beside the variance is still there
    assert not torch.equal(after, before)


def test_lstm_gates_are_normalised_as_one_vector() -> None:
    """A gate whose weights grow moves the others: with a norm for each gate it would not."""
    cell, x, _ = lstm()
    before = cell.project(x)
    with torch.no_grad():
        cell.weight_ih[:H] *= 3
    change = (cell.project(x) - before).abs().amax(dim=(0, 1)).split(H)
    assert all(bool(part.max() > 1e-2) for part in change)


def test_gru_candidate_is_normalised_by_itself() -> None:
    torch.manual_seed(0)
    cell = LayerNormGRU(3, H).double()
    x = torch.randn(2, 1, 3, dtype=torch.float64)
    before = cell.project(x).split(H, dim=-1)
    with torch.no_grad():
        cell.weight_ih[:H] *= 3
    r, z, n = ((a - b).detach().abs().max() for a, b in zip(cell.project(x).split(H, dim=-1), before, strict=True))
    assert r > 1e-2
    assert z > 1e-2
    assert n == 0


def test_the_memory_carried_on_is_not_normalised() -> None:
    cell, x, state = lstm()
    _, small = cell.step(cell.project(x)[:, 0], state)
    _, large = cell.step(cell.project(x)[:, 0], state._replace(c=state.c + 100))
    assert bool((large.c - small.c > 10).all())


def test_with_standard_pre_activations_it_is_the_plain_cell() -> None:
    """With gains and shifts that undo the norms, the GRU is torch's."""
    torch.manual_seed(1)
    plain, cell = GRU(3, H).double(), LayerNormGRU(3, H).double()
    x, h = torch.randn(1, 1, 3, dtype=torch.float64), torch.randn(1, H, dtype=torch.float64)
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh"):
            getattr(cell, name).copy_(getattr(plain, name))
        for value, kind in ((x[0, 0], "ih"), (h[0], "hh")):
            product = getattr(plain, f"weight_{kind}") @ value
            for part in (slice(0, 2 * H), slice(2 * H, 3 * H)):
                mean, deviation = product[part].mean(), (product[part].var(unbiased=False) + 1e-5).sqrt()
                getattr(cell, f"gain_{kind}")[part] = deviation
                getattr(cell, f"bias_{kind}")[part] = mean + getattr(plain, f"bias_{kind}")[part]
    expected, _ = plain.step(plain.project(x)[:, 0], GRUState(h))
    found, _ = cell.step(cell.project(x)[:, 0], GRUState(h))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


def test_only_the_output_reads_a_normalised_memory() -> None:
    cell, x, state = lstm()
    output, new = cell.step(cell.project(x)[:, 0], state)
    mean, deviation = new.c.mean(dim=-1, keepdim=True), (new.c.var(dim=-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    gates = cell.project(x)[:, 0] + cell.recur(state.h)
    o = torch.sigmoid(gates[:, 3 * H :])
    torch.testing.assert_close(output, o * torch.tanh((new.c - mean) / deviation), rtol=1e-12, atol=1e-13)
