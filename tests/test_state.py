import math
from typing import Any, NamedTuple

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from seqloom.errors import SavedFileError, UsageError
from seqloom.state import detach, from_bytes, map_state, move, select, stack, to_bytes, where


class Memory(NamedTuple):
    h: Tensor
    c: Tensor | None


DTYPES = (torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.bool)
SHAPES = st.tuples(st.lists(st.integers(0, 3), max_size=2), st.sampled_from(DTYPES))
NAMES = st.text("abcé_", min_size=1, max_size=3)
# A structure is a state whose leaves are (shape without batch, dtype); `build` fills it.
STRUCTURES = st.recursive(
    SHAPES.map(lambda leaf: ("leaf", leaf)) | st.just(("none", None)),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: ("list", parts))
        | st.lists(inner, max_size=3).map(lambda parts: ("tuple", parts))
        | st.dictionaries(NAMES, inner, max_size=3).map(lambda parts: ("dict", parts))
        | st.tuples(inner, inner).map(lambda parts: ("memory", parts))
    ),
    max_leaves=6,
)


def build(structure: Any, rows: int) -> Any:
    kind, parts = structure
    match kind:
        case "leaf":
            shape, dtype = parts
            return (torch.randn(rows, *shape) * 100).to(dtype)
        case "none":
            return None
        case "list":
            return [build(part, rows) for part in parts]
        case "tuple":
            return tuple(build(part, rows) for part in parts)
        case "dict":
            return {name: build(part, rows) for name, part in parts.items()}
    return Memory(*(build(part, rows) for part in parts))


def leaves(state: Any) -> list[Tensor]:
    found: list[Tensor] = []

    def note(leaf: Tensor) -> Tensor:
        found.append(leaf)
        return leaf

    map_state(note, state)
    return found


def assert_same(one: Any, other: Any) -> None:
    def check(left: Tensor, right: Tensor) -> Tensor:
        assert left.dtype == right.dtype
        assert left.shape == right.shape
        assert torch.equal(left, right)
        return left

    map_state(check, one, other)  # and the structures agree, types included


@given(STRUCTURES, st.integers(0, 3), st.integers(1, 3))
def test_select_takes_stacked_states_apart(structure: Any, first: int, second: int) -> None:
    a, b = build(structure, first), build(structure, second)
    both = stack([a, b])
    assert_same(select(both, slice(0, first)), a)
    assert_same(select(both, list(range(first, first + second))), b)
    assert_same(select(both, torch.arange(first + second) >= first), b)


@given(STRUCTURES)
def test_fork_is_independent(structure: Any) -> None:
    state = build(structure, 3)
    before = map_state(Tensor.clone, state)
    for rows in (slice(None), [0, 0, 1, 2], torch.tensor([2, 1])):
        for leaf in leaves(select(state, rows)):
            leaf.fill_(7)
    assert_same(state, before)


@given(STRUCTURES, st.integers(0, 3))
def test_bytes_round_trip_is_exact(structure: Any, rows: int) -> None:
    state = build(structure, rows)
    data = to_bytes(state)
    assert data == to_bytes(map_state(Tensor.clone, state))
    assert_same(from_bytes(data, like=build(structure, 1)), state)


def test_bytes_keep_nan_infinity_and_negative_zero() -> None:
    state = torch.tensor([[math.nan, math.inf, -0.0, 1e-45]])
    back = from_bytes(to_bytes(state), like=torch.zeros(1, 4))
    assert torch.equal(back.view(torch.int32), state.view(torch.int32))


@given(STRUCTURES)
def test_detach_cuts_the_graph(structure: Any) -> None:
    weight = torch.ones((), requires_grad=True)
    grown = map_state(lambda leaf: leaf * weight.to(leaf) if leaf.is_floating_point() else leaf, build(structure, 2))
    assert all(leaf.grad_fn is not None for leaf in leaves(grown) if leaf.is_floating_point())
    assert all(not leaf.requires_grad for leaf in leaves(detach(grown)))
    assert_same(detach(grown), grown)


def test_map_keeps_types_and_none() -> None:
    state = {"top": (Memory(torch.ones(2, 1), None), [torch.ones(2)])}
    doubled = map_state(torch.add, state, state)
    assert isinstance(doubled["top"][0], Memory)
    assert doubled["top"][0].c is None
    assert doubled["top"][0].h.tolist() == [[2.0], [2.0]]
    assert state["top"][0].h.tolist() == [[1.0], [1.0]]


def test_select_keeps_order_and_repeats() -> None:
    state = Memory(torch.tensor([[1.0], [2.0], [3.0]]), None)
    assert select(state, [2, 0, 2]).h.tolist() == [[3.0], [1.0], [3.0]]
    assert select(state, []).h.shape == (0, 1)
    assert select(state, slice(1, None)).h.tolist() == [[2.0], [3.0]]


def test_select_passes_gradients() -> None:
    h = torch.ones(3, 1, requires_grad=True)
    (gradient,) = torch.autograd.grad(select(Memory(h, None), [0, 0, 2]).h.sum(), h)
    assert gradient.tolist() == [[2.0], [0.0], [1.0]]


def test_move_casts_only_floating_leaves() -> None:
    moved = move({"h": torch.ones(2, 1), "count": torch.ones(2, dtype=torch.int64)}, dtype=torch.bfloat16)
    assert moved["h"].dtype == torch.bfloat16
    assert moved["count"].dtype == torch.int64
    assert move(torch.ones(2), device="meta").is_meta


def test_where_hides_the_row_that_is_not_chosen() -> None:
    new = torch.tensor([[1.0], [math.nan]], requires_grad=True)
    old = torch.tensor([[math.inf], [5.0]], requires_grad=True)
    chosen = where(torch.tensor([True, False]), Memory(new, None), Memory(old, None))
    assert chosen.h.tolist() == [[1.0], [5.0]]
    to_new, to_old = torch.autograd.grad((chosen.h * 3).sum(), (new, old))
    assert to_new.tolist() == [[3.0], [0.0]]
    assert to_old.tolist() == [[0.0], [3.0]]


@pytest.mark.parametrize(
    ("mask", "old"),
    [
        (torch.tensor([1, 0]), torch.zeros(2, 3)),
        (torch.tensor([True]), torch.zeros(2, 3)),
        (torch.tensor([True, False]), torch.zeros(1, 3)),
    ],
    ids=["not boolean", "one row for two", "broadcast state"],
)
def test_where_refuses_what_would_broadcast(mask: Tensor, old: Tensor) -> None:
    with pytest.raises(UsageError, match=r"expected a boolean mask \(B,\) and two states of equal shape"):
        where(mask, torch.ones(2, 3), old)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ((torch.ones(1), None), "states differ at 0: Memory and Tensor; expected one kind"),
        ((Memory(torch.ones(1), torch.ones(1)), None), r"states differ at 0\.c: NoneType and Tensor"),
        ((Memory(torch.ones(1), None),), r"states differ at state: parts \['0', '1'\] and \['0'\]"),
        ([Memory(torch.ones(1), None), None], "states differ at state: tuple and list"),
    ],
)
def test_structures_must_agree(other: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        stack([(Memory(torch.ones(1), None), None), other])


def test_misuse_is_named() -> None:
    with pytest.raises(UsageError, match="stack received no states, expected at least one"):
        stack([])
    with pytest.raises(UsageError, match=r"state: float found at 0\.h, expected a tensor, None"):
        detach((Memory(1.0, None),))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"rows tensor\(\[3\]\) are not in a state of 3 rows .* from 0 to 2"):
        select(torch.ones(3, 1), [3])
    with pytest.raises(UsageError, match=r"dictionary key 'a\.b', expected text without a dot: rename it"):
        to_bytes({"a.b": torch.ones(1)})


def saved(tensors: dict[str, Tensor], version: str = "1") -> bytes:
    return safetensors.torch.save(tensors, {"seqloom-state": version})


GOOD = {"h": torch.ones(2, 3), "c": torch.ones(2, 3)}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 bytes are not safetensors"),
        (b"\x80\x04\x95" + b"pickle" * 9, "57 bytes are not safetensors"),
        (to_bytes(Memory(**GOOD))[:-1], "are not safetensors"),
        (safetensors.torch.save(GOOD), "without a 'seqloom-state' version"),
        (saved(GOOD, "0"), r"version \(found '0'\)"),
        (saved(GOOD, "2"), "written by a newer seqloom, format 2; this one reads up to 1: upgrade seqloom"),
        (saved({"h": GOOD["h"]}), r"missing \['c'\], unexpected nothing; expected \['c', 'h'\]"),
        (saved(GOOD | {"x": torch.ones(1)}), r"missing nothing, unexpected \['x'\]"),
        (saved(GOOD | {"c": torch.ones(2, 4)}), r"c is torch.float32 \(2, 4\); expected torch.float32 \("),
        (saved(GOOD | {"c": torch.ones(2, 3).half()}), r"c is torch.float16 \(2, 3\); expected "),
        (saved(GOOD | {"c": torch.tensor(1.0)}), r"c is torch.float32 \(\); expected .* \('B', 3\)"),
        (saved(GOOD | {"c": torch.ones(3, 3)}), r"batch sizes differ \(c 3, h 2\); expected one"),
    ],
)
def test_foreign_bytes_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(SavedFileError, match=message):
        from_bytes(data, like=Memory(torch.zeros(1, 3), torch.zeros(1, 3)))
