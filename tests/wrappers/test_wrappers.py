"""Cells around a cell: what they change, in training and in evaluation, for every cell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from catalogue import CELLS, OWN_CELL
from seqloom.cells.cell import Cell, GatedCell, LinearCell
from seqloom.cells.gru import GRU
from seqloom.cells.lstm import LSTM
from seqloom.cells.min_gru import MinGRU
from seqloom.cells.slstm import SLSTM, SLSTMState
from seqloom.errors import KernelError, UsageError
from seqloom.kernels import choose, reference
from seqloom.layers.recurrent import Recurrent
from seqloom.lookup import find
from seqloom.sequences import Sequences
from seqloom.state import from_bytes, map_state, to_bytes
from seqloom.wrappers import LearnedState, RecurrentDropout, Zoneout, wrap

KINDS = {name: find("cells", name, Cell) for name in CELLS}
OPTIONS: dict[str, dict[str, Any]] = {
    "learned": {"learned_state": True},
    "dropout": {"recurrent_dropout": 0.4},
    "zoneout": {"zoneout": 0.3},
    "all": {"learned_state": True, "recurrent_dropout": 0.4, "zoneout": 0.3},
}
every_cell = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


@pytest.fixture(autouse=True, scope="module")
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def options_for(kind: type[Cell], name: str) -> dict[str, Any]:
    """Those that make sense: a linear cell has nothing to drop."""
    return {k: v for k, v in OPTIONS[name].items() if not (k == "recurrent_dropout" and issubclass(kind, LinearCell))}


def wrapped(kind: type[Cell], name: str, *, training: bool) -> Cell:
    torch.manual_seed(0)
    made = wrap(kind(3, 5), **options_for(kind, name))
    for weight in made.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return made.train(training)


def batch() -> Sequences:
    return Sequences(torch.randn(3, 8, 3, generator=torch.Generator().manual_seed(1)), torch.tensor([8, 0, 5]))


def assert_close(a: Tensor, b: Tensor) -> Tensor:
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)
    return a


@every_cell
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("training", [False, True])
def test_any_cutting_gives_the_whole(kind: type[Cell], name: str, training: bool) -> None:
    """In training too: the mask is in the state. Zoneout draws at every step, so its generator is wound back."""
    cell, input = wrapped(kind, name, training=training), batch()
    begin = cell.initial_state(3)
    torch.manual_seed(2)
    whole, end = reference.run(cell, input, begin)
    torch.manual_seed(2)
    state, parts = begin, []
    for piece in input.split([1, 4, 3]):
        saved = to_bytes(state)
        output, state = reference.run(cell, piece, from_bytes(saved, like=begin))
        parts.append(output.values)
    assert_close(torch.cat(parts, dim=1), whole.values)
    map_state(assert_close, state, end)


@every_cell
def test_every_option_has_a_gradient_to_every_weight(kind: type[Cell]) -> None:
    """Finite differences through a training step with all options on; masks are drawn alike each time."""
    cell = wrapped(kind, "all", training=True)
    input = Sequences(torch.randn(2, 3, 3, requires_grad=True), torch.tensor([3, 2]))

    def run(values: Tensor, *_: Tensor) -> list[Tensor]:
        torch.manual_seed(3)
        output, state = reference.run(cell, input.with_values(values), cell.initial_state(2))
        return [output.values, *(leaf for leaf in cell.bare_state(state) if leaf.requires_grad)]

    assert torch.autograd.gradcheck(run, (input.values, *cell.parameters()), fast_mode=True)


@every_cell
@pytest.mark.parametrize("name", ["learned", "dropout"])
def test_in_evaluation_it_is_the_cell_itself(kind: type[Cell], name: str) -> None:
    cell, input = wrapped(kind, name, training=False), batch()
    state = cell.initial_state(3)
    found, end = reference.run(cell, input, state)
    expected, bare_end = reference.run(cell.bare, input, cell.bare_state(state))
    assert torch.equal(found.values, expected.values)
    map_state(assert_close, cell.bare_state(end), bare_end)


@every_cell
def test_a_stack_with_all_options_streams_and_reads_no_padding(kind: type[Cell]) -> None:
    def build() -> Recurrent:
        torch.manual_seed(0)
        chosen = options_for(kind, "all")
        return Recurrent(kind, 3, 4, 2, bidirectional=True, wrap=lambda cell: wrap(cell, **chosen)).eval()

    layer, input = build(), batch()
    dirty = input.with_values(torch.where(input.valid.unsqueeze(2), input.values, float("nan")))
    output, state = layer(input)
    assert torch.equal(layer(dirty)[0].values, output.values)
    row, _ = layer(input.select(torch.tensor([2])))
    assert_close(row.values[0, :5], output.values[2, :5])
    other = build()
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(input)[0].values, output.values)
    assert to_bytes(other(input)[1]) == to_bytes(state)


# Learned state


@every_cell
def test_a_learned_state_begins_as_the_cells_and_can_move(kind: type[Cell]) -> None:
    cell = LearnedState(kind(3, 5))
    map_state(assert_close, cell.initial_state(4), cell.cell.initial_state(4))
    assert set(cell.initial) == set(cell.initial_state(1)._fields) - set(kind.bookkeeping)
    output, end = reference.run(cell, batch(), cell.initial_state(3))
    torch.stack([output.values.sum(), *(part.sum() for part in end)]).sum().backward()
    moved = [name for name, weight in cell.initial.items() if weight.grad is not None and bool(weight.grad.any())]
    assert moved


def test_a_kernel_that_runs_the_cell_runs_it_with_a_learned_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "run", lambda *given: pytest.fail("the plain scan ran"))
    layer = Recurrent(LSTM, 3, 4, wrap=LearnedState)
    with torch.no_grad():
        layer.cells()[0][0].initial.h += 1  # type: ignore[operator, union-attr]
    assert bool((layer.initial_state(2)[0][0].h == 1).all())
    layer(batch())


# Recurrent dropout


def test_in_evaluation_the_fast_kernel_runs_and_the_mask_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer = Recurrent(LSTM, 3, 4, wrap=lambda cell: wrap(cell, learned_state=True, recurrent_dropout=0.5))
    state, calls = layer.initial_state(3), []
    real = reference.run
    monkeypatch.setattr(reference, "run", lambda *given, **more: calls.append(1) or real(*given, **more))
    layer(batch(), state)
    assert calls, "while training the mask matters, so the plain scan runs"
    calls.clear()
    _, ((after,),) = layer.eval()(batch(), state)
    assert not calls
    assert torch.equal(after.mask, state[0][0].mask)
    assert after.cell.h.shape == (3, 4)


def test_the_mask_is_drawn_once_for_each_row_and_kept() -> None:
    cell = RecurrentDropout(LSTM(3, 400), 0.25).train()
    torch.manual_seed(0)
    state = cell.initial_state(8)
    assert set(state.mask.unique().tolist()) == {0.0, 1 / 0.75}
    assert float((state.mask == 0).to(torch.float64).mean()) == pytest.approx(0.25, abs=0.03)
    assert not torch.equal(state.mask[0], state.mask[1])
    _, after = cell.step(cell.project(torch.randn(8, 3)), state)
    assert torch.equal(after.mask, state.mask)
    assert bool((cell.eval().initial_state(2).mask == 1).all())


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if issubclass(kind, GatedCell)])
def test_the_weights_see_the_masked_past_and_the_memory_is_whole(kind: type[GatedCell]) -> None:
    """Masking h is the same as taking columns out of the recurrent weights; what is carried on is not touched."""
    torch.manual_seed(0)
    cell = RecurrentDropout(kind(3, 5), 0.5).train()
    state = cell.initial_state(1)
    state = state._replace(cell=map_state(torch.randn_like, state.cell))
    x = torch.randn(1, 3)
    found, after = cell.step(cell.project(x), state)
    thinned = kind(3, 5)
    thinned.load_state_dict(cell.cell.state_dict())
    with torch.no_grad():
        thinned.weight_hh *= state.mask
    expected, end = thinned.step(thinned.project(x), state.cell)
    assert_close(found, expected)
    map_state(assert_close, after.cell, end)
    assert not torch.allclose(found, cell.cell.step(cell.project(x), state.cell)[0])


def test_a_cell_known_by_its_step_alone_is_thinned() -> None:
    torch.manual_seed(0)
    cell = RecurrentDropout(KINDS[OWN_CELL](3, 6), 0.5).train()
    state = cell.initial_state(4)
    output, end = reference.run(cell, Sequences.full(torch.randn(4, 5, 3)), state)
    dropped = (state.mask == 0).unsqueeze(1).expand_as(output.values)
    assert bool((output.values[dropped] == 0).all())
    assert bool((output.values[~dropped] != 0).all())
    assert bool((end.cell.seen == 5).all()), "what is not one of the units goes on"


def test_nothing_to_drop_is_said() -> None:
    with pytest.raises(UsageError, match="MinGRU has no weights that look back, so there is nothing to drop"):
        RecurrentDropout(MinGRU(3, 4), 0.5)
    with pytest.raises(UsageError, match=r"has the rate 1\.0; expected 0 <= rate < 1"):
        RecurrentDropout(GRU(3, 4), 1.0)


# Zoneout


def test_zoneout_keeps_or_renews_each_unit() -> None:
    torch.manual_seed(0)
    cell = Zoneout(LSTM(3, 500), 0.3).train()
    old = map_state(torch.randn_like, cell.initial_state(4))
    x = torch.randn(4, 3)
    output, new = cell.step(cell.project(x), old)
    _, fresh = cell.cell.step(cell.project(x), old)
    for field in range(2):
        kept = new[field] == old[field]
        assert bool((kept | (new[field] == fresh[field])).all())
        assert float(kept.to(torch.float64).mean()) == pytest.approx(0.3, abs=0.04)
    assert torch.equal(output, new.h)
    assert not torch.equal(new.h == old.h, new.c == old.c), "each field draws for itself"


@every_cell
def test_zoneout_in_evaluation_is_the_expectation(kind: type[Cell]) -> None:
    cell = wrapped(kind, "zoneout", training=False)
    old = map_state(lambda leaf: torch.randn_like(leaf).abs(), cell.initial_state(2))
    x = torch.randn(2, 3)
    output, new = cell.step(cell.project(x), old)
    plain, fresh = cell.cell.step(cell.project(x), old)
    for name in {*new._fields} - {*kind.bookkeeping} - ({"c"} if kind is SLSTM else set()):
        assert_close(getattr(new, name), 0.3 * getattr(old, name) + 0.7 * getattr(fresh, name))
    field = kind.output.removesuffix("_next")
    assert_close(output, getattr(new, field) if kind.output.endswith("_next") else plain)


def test_slstm_memories_are_mixed_on_one_scale() -> None:
    """What c and n stand for is c exp(m) and n exp(m); those are mixed, whatever the stabilisers are."""
    cell = SLSTM(2, 3)
    old, new = (SLSTMState(*torch.randn(4, 2, 3)) for _ in range(2))
    share = SLSTMState(*(torch.full((2, 3), 0.3) for _ in range(4)))
    mixed = cell.blend(old, new, share)
    for name in ("c", "n"):
        whole = [getattr(part, name) * part.m.exp() for part in (old, new, mixed)]
        assert_close(whole[2], 0.3 * whole[0] + 0.7 * whole[1])
    far = SLSTMState(new.h, new.c, new.n, new.m + 800)
    for value, expected in ((1.0, old), (0.0, far)):
        share = SLSTMState(*(torch.full((2, 3), value) for _ in range(4)))
        assert all(torch.equal(a, b) for a, b in zip(cell.blend(old, far, share), expected, strict=True))


# Kernels


def test_kernels_that_cannot_run_a_wrapped_cell_say_so() -> None:
    input = Sequences.full(torch.zeros(2, 3, 3))
    choice = choose(Zoneout(RecurrentDropout(LSTM(3, 4), 0.5), 0.1), input)
    assert choice.name == "reference"
    assert choice.refusals["fused"] == "torch has no fused function for LSTM with recurrent dropout with zoneout"
    assert choose(Zoneout(MinGRU(3, 4), 0.1), input).refusals["scan"].startswith("MinGRU with zoneout is not linear")
    with pytest.raises(KernelError, match="LSTM with zoneout"):
        Recurrent(LSTM, 3, 4, backend="fused", wrap=lambda cell: Zoneout(cell, 0.1))(input)
