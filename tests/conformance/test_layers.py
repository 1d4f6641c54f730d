"""Every layer of the package under the same rules; a layer without an entry fails here."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import seqloom.layers
from seqloom.cells.gru import GRU as GRUCell
from seqloom.cells.gru import GRUState
from seqloom.layers import GRU, LSTM, RNN
from seqloom.layers.attention import Additive, Attention, MultiHead, Multiplicative
from seqloom.layers.bridge import Bridge
from seqloom.layers.conv import Conv, ConvSettings
from seqloom.layers.decoder import Decoder
from seqloom.layers.front import Front
from seqloom.layers.linear import Linear
from seqloom.layers.pooling import Last, Max, Mean, SideBySide
from seqloom.layers.recurrent import Recurrent
from seqloom.layers.torch_like import WithLengths
from seqloom.sequences import Sequences

Build = Callable[[], nn.Module]
F = 4

QUERY = torch.linspace(-1, 1, 2 * F, dtype=torch.float64).reshape(1, 2, F)  # of every row, for attention


def decoder() -> Decoder:
    """Looks at F features with two heads, token by token."""
    source = Recurrent(GRUCell, F, F)
    return Decoder(
        source,
        5,
        cell=GRUCell,
        size=3,
        hidden_size=F,
        num_layers=2,
        attention=lambda query, memory: MultiHead(query, memory, 2),
        input_feeding=True,
    ).double()


LAYERS: dict[type[nn.Module], Build] = {
    Last: lambda: Last(bidirectional=True),
    Mean: Mean,
    Max: Max,
    SideBySide: lambda: SideBySide([Mean(), Last(bidirectional=False)]),
    Recurrent: lambda: Recurrent(GRUCell, F, 3, num_layers=2, bidirectional=True).double(),
    Conv: lambda: Conv(F, 3, 4, stride=2, causal=False, residual=True).double(),
    Front: lambda: Front(F, [ConvSettings(channels=3, kernel_size=3, stride=2, dilation=3, layer_norm=True)]).double(),
    LSTM: lambda: LSTM(F, 3, num_layers=2, bidirectional=True, batch_first=True).double(),
    GRU: lambda: GRU(F, 3, batch_first=True).double(),
    RNN: lambda: RNN(F, 3, batch_first=True, bidirectional=True).double(),
    Additive: lambda: Additive(F, F, 3).double(),
    Multiplicative: lambda: Multiplicative(F, F).double(),
    MultiHead: lambda: MultiHead(F, F, 2).double(),
    Bridge: lambda: Bridge(((GRUState(torch.zeros(1, F)),),), ((GRUState(torch.zeros(1, 3)),),)).double(),
    Decoder: decoder,
}
every = pytest.mark.parametrize("build", LAYERS.values(), ids=[layer.__name__ for layer in LAYERS])


def layers_of_the_package() -> set[type[nn.Module]]:
    """Every class of `seqloom.layers` that can be built."""
    found = set()
    for module in pkgutil.iter_modules(seqloom.layers.__path__, "seqloom.layers."):
        members = vars(importlib.import_module(module.name)).values()
        own = [m for m in members if inspect.isclass(m) and m.__module__ == module.name]
        found |= {m for m in own if issubclass(m, nn.Module) and not inspect.isabstract(m)}
    return found - {WithLengths, Linear}  # what the three of torch's share, and what knows of no steps


def run(layer: nn.Module, batch: Sequences) -> tuple[Tensor, ...]:
    """Everything a layer gives, rows first."""
    if isinstance(layer, WithLengths):
        output, final = layer(batch.values, lengths=batch.lengths)
        parts = final if isinstance(final, tuple) else (final,)
        return (output, *(part.transpose(0, 1) for part in parts))
    if isinstance(layer, Attention):
        return (layer(QUERY.expand(len(batch.lengths), 2, F), layer.remember(batch)).context,)
    if isinstance(layer, Bridge):
        begin = GRUState(batch.values.new_zeros(len(batch.lengths), 3))
        return tuple(leaves(layer(((GRUState(batch.last()),),), ((begin,),))))
    if isinstance(layer, Decoder):
        told = Sequences.full(torch.tensor([[1, 2, 3]]).expand(len(batch.lengths), 3))
        return (layer(told, layer.begin(batch, ((GRUState(batch.last()),),))).features,)
    found: Any = layer(batch)
    if isinstance(found, Tensor):
        return (found,)
    sequences, state = found
    return (sequences.values, *leaves(state))


def leaves(state: Any) -> list[Tensor]:
    """Every tensor of a state."""
    return [state] if isinstance(state, Tensor) else [leaf for part in state for leaf in leaves(part)]


def example() -> Sequences:
    torch.manual_seed(0)
    return Sequences(torch.randn(4, 5, F, dtype=torch.float64), torch.tensor([3, 0, 5, 1]))


def test_every_layer_has_an_entry() -> None:
    assert layers_of_the_package() == set(LAYERS)


@every
@pytest.mark.parametrize("junk", [float("nan"), float("inf"), -1e30])
@pytest.mark.parametrize("more", [0, 3])
def test_padding_never_matters(build: Build, junk: float, more: int) -> None:
    layer, batch = build(), example()
    values = torch.cat([batch.values, batch.values.new_zeros(4, more, F)], dim=1)
    dirty = torch.where(torch.arange(5 + more)[None, :, None] < batch.lengths[:, None, None], values, junk)
    dirty.requires_grad_()
    found = run(layer, Sequences(dirty, batch.lengths))
    for one, other in zip(found, run(layer, batch), strict=True):
        clean = one[:, : other.shape[1]] if one.dim() == 3 else one
        torch.testing.assert_close(clean, other)
    torch.stack([part.sum() for part in found]).sum().backward()
    assert dirty.grad is not None
    assert torch.equal(dirty.grad[3, 1:], torch.zeros(4 + more, F, dtype=torch.float64))
    assert bool(torch.isfinite(dirty.grad).all())


@every
def test_batch_is_one_by_one(build: Build) -> None:
    layer, batch = build(), example()
    together = run(layer, batch)
    for row, length in enumerate(batch.lengths.tolist()):
        alone = run(layer, Sequences(batch.values[row : row + 1], batch.lengths[row : row + 1]))
        for one, other in zip(alone, together, strict=True):
            torch.testing.assert_close(one[0], other[row])
        if not isinstance(layer, Bridge | Decoder):  # those two write something after nothing, too
            assert length or not bool(alone[0].any()), "an empty row gives zeros"


@every
def test_saved_is_loaded(build: Build) -> None:
    layer, other = build(), build()
    other.load_state_dict(layer.state_dict())
    for one, same in zip(run(layer, example()), run(other, example()), strict=True):
        assert torch.equal(one, same)
