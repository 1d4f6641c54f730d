"""State: made, passed in, returned, forked, saved; never kept on a module, never tied to a batch size."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from catalogue import CASES, CELLS, Built, Case, build
from seqloom.batch import cut
from seqloom.cells.cell import Cell
from seqloom.layers.recurrent import Recurrent
from seqloom.lookup import find
from seqloom.model import SequenceModel
from seqloom.recipe import parse_recipe
from seqloom.sequences import Sequences
from seqloom.state import detach, from_bytes, map_state, move, select, stack, to_bytes

every_cell = pytest.mark.parametrize("cell", CELLS)
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def core(cell: str, *, both: bool = False) -> Recurrent:
    torch.manual_seed(5)
    return Recurrent(find("cells", cell, Cell), 3, 4, num_layers=2, bidirectional=both)


def random_sequences(rows: int, steps: int, seed: int) -> Sequences:
    random = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, steps + 1, (rows,), generator=random)
    return Sequences(torch.randn(rows, steps, 3, generator=random), lengths)


def close(a: Tensor, b: Tensor) -> Tensor:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    return a


@every_cell
@pytest.mark.parametrize("both", [False, True])
def test_select_stack_and_bytes_then_go_on(cell: str, both: bool, seed: int) -> None:
    model = core(cell, both=both)
    _, state = model(random_sequences(5, 6, seed))
    rest = random_sequences(5, 7, seed + 1)
    expected, final = model(rest, state)

    rows = [3, 0, 0, 4]
    forked, forked_final = model(rest.select(torch.tensor(rows)), select(state, rows))
    close(forked.values, expected.values[rows])
    map_state(close, forked_final, select(final, rows))

    halves = stack([select(state, [0, 1]), select(state, slice(2, 5))])
    close(model(rest, halves)[0].values, expected.values)

    saved = from_bytes(to_bytes(state), like=model.initial_state(1))
    read, read_final = model(rest, saved)
    assert torch.equal(read.values, expected.values)
    assert to_bytes(read_final) == to_bytes(final)


@every_cell
def test_a_state_that_was_passed_in_is_untouched(cell: str, seed: int) -> None:
    model = core(cell)
    _, state = model(random_sequences(4, 5, seed))
    before = to_bytes(state)
    model(random_sequences(4, 5, seed + 1), state)
    model.layers[0][0].step(model.layers[0][0].project(torch.randn(4, 1, 3))[:, 0], state[0][0])
    assert to_bytes(state) == before


@every_cell
def test_the_initial_state_has_any_number_of_rows(cell: str) -> None:
    model = core(cell)
    for rows in (0, 1, 7):
        values, state = model(random_sequences(rows, 4, 1))
        assert len(values.values) == rows
        for one in (model.initial_state(rows), state):
            assert {len(leaf) for layer in one for cell in layer for leaf in cell} == {rows}


def contents(module: nn.Module) -> list[tuple[str, Any]]:
    """Everything that hangs on a module and its parts, tensors by value."""
    found = []
    for name, part in module.named_modules():
        for key, value in vars(part).items():
            if key in ("_parameters", "_buffers", "_modules"):
                value = {k: v if isinstance(v, Tensor) or v is None else id(v) for k, v in value.items()}
            found.append((f"{name}.{key}", value))
    return found


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    try:
        return bool(a == b)
    except (ValueError, RuntimeError):
        return a is b


@every_case
def test_a_forward_leaves_no_trace_on_the_modules(case: Case) -> None:
    built: Built = build(case)
    batch = cut(built.encoded, built.places, built.model.inputs, built.model.outputs)
    before = [
        (name, copy.deepcopy(value) if isinstance(value, dict) else value) for name, value in contents(built.model)
    ]
    with torch.no_grad():
        first = built.model(batch)
        after = contents(built.model)
        second = built.model(batch)
    assert [name for name, _ in after] == [name for name, _ in before]
    changed = [name for (name, old), (_, new) in zip(before, after, strict=True) if not same(old, new)]
    assert changed == []
    assert all(torch.equal(first[name], second[name]) for name in first)


def read_in_chunks(case: Case) -> bool:
    return SequenceModel(parse_recipe(case.recipe())).whole_only is None


@pytest.mark.parametrize("case", list(filter(read_in_chunks, CASES)), ids=lambda case: case.name)
def test_what_a_model_carries_is_a_value(case: Case, seed: int) -> None:
    """Front end, core and what pooled outputs made of the steps: selected, stacked, saved, cut from its graph."""
    built = build(case, seed)
    model = built.model
    batch = cut(built.encoded, built.places, model.inputs, model.outputs)
    _, memory = model.advance(batch, model.initial_memory(len(batch.lengths)), final=False)
    rows = len(batch.lengths)
    halves = stack([select(memory, slice(0, 5)), select(memory, slice(5, rows))])
    map_state(same_values, halves, memory)
    saved = from_bytes(to_bytes(memory), like=model.initial_memory(1))
    map_state(same_values, saved, memory)
    cut_off = detach(memory)
    assert any(leaf.requires_grad for leaf in leaves(memory))
    assert not any(leaf.requires_grad for leaf in leaves(cut_off))
    narrow = move(cut_off, dtype=torch.float32)
    assert {leaf.dtype for leaf in leaves(narrow) if leaf.is_floating_point()} == {torch.float32}
    before = to_bytes(memory)
    second, _ = model.advance(batch, halves)
    first, _ = model.advance(batch, memory)
    assert torch.equal(first.states.values, second.states.values)
    assert to_bytes(memory) == before


def same_values(a: Tensor, b: Tensor) -> Tensor:
    assert torch.equal(a, b)
    return a


def leaves(state: Any) -> list[Tensor]:
    found: list[Tensor] = []
    map_state(lambda leaf: found.append(leaf) or leaf, state)  # type: ignore[func-returns-value]
    return found
