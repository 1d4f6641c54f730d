"""What may be done to any recurrent state.

A state is any nesting of named tuples, tuples, lists and dictionaries. Its leaves are tensors whose first
dimension is the batch, or None. It is a value: each function returns a new state, and none knows a cell.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from seqloom.errors import SavedFileError, UsageError

S = TypeVar("S")

_VERSION = 1
_VERSION_KEY = "seqloom-state"  # the only metadata key: safetensors writes several of them in random order


def map_state(fn: Callable[..., Tensor], state: S, *others: S) -> S:
    """Apply `fn` to each tensor of `state` and the tensors at the same place in `others`.

    None leaves stay None. Raises UsageError, naming the place, where the states differ in structure.
    """
    mapped: S = _map(lambda _path, *leaves: fn(*leaves), (state, *others), "")
    return mapped


def select(state: S, rows: Tensor | Sequence[int] | slice) -> S:
    """Take batch rows: an index or boolean tensor `(N,)`, a list of row numbers, or a slice.

    Rows may repeat (a beam forks that way). The result shares no memory with `state`.
    """
    index = rows if isinstance(rows, slice | Tensor) else torch.as_tensor(rows, dtype=torch.int64)
    return map_state(lambda leaf: _take(leaf, index), state)


def stack(states: Sequence[S]) -> S:
    """Join states along the batch: rows of the first state, then rows of the second, and so on."""
    if not states:
        raise UsageError("stack received no states, expected at least one: pass a list of states")
    return map_state(lambda *leaves: torch.cat(leaves), *states)


def detach(state: S) -> S:
    """Cut the state from the graph that made it; values are kept and memory is shared."""
    return map_state(Tensor.detach, state)


def move(state: S, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> S:
    """Move to a device, and floating leaves to a `dtype`; integer and boolean leaves keep theirs."""
    return map_state(lambda leaf: leaf.to(device=device, dtype=dtype if leaf.is_floating_point() else None), state)


def where(mask: Tensor, new: S, old: S) -> S:
    """Choose row by row: `new` where the boolean mask `(B,)` is True, else `old`.

    A row that is not chosen reaches neither the values nor the gradients of the result, NaN included: its own
    gradient is exactly zero.
    """
    return map_state(lambda fresh, kept: _choose(mask, fresh, kept), new, old)


def size(state: object) -> int:
    """How many numbers it holds."""
    return sum(leaf.numel() for leaf in _leaves(state).values())


def to_bytes(state: object) -> bytes:
    """Write a state as safetensors bytes; equal states give equal bytes."""
    plain = {path: leaf.detach().cpu() for path, leaf in _leaves(state).items()}
    tensors = {path: leaf.clone(memory_format=torch.contiguous_format) for path, leaf in plain.items()}
    return safetensors.torch.save(tensors, {_VERSION_KEY: str(_VERSION)})


def from_bytes(data: bytes, like: S) -> S:
    """Read a state written by `to_bytes`, with the structure, shapes, types and devices of `like`.

    The number of rows may differ from `like`: a state is not tied to a batch size. Raises SavedFileError.
    """
    tensors = _parse(data)
    expected = _leaves(like)
    _check_names(tensors.keys(), expected.keys())
    for path, leaf in expected.items():
        _check_leaf(path, tensors[path], leaf)
    if len({len(tensor) for tensor in tensors.values()}) > 1:
        rows = ", ".join(f"{path} {len(tensor)}" for path, tensor in sorted(tensors.items()))
        raise SavedFileError(f"saved state: batch sizes differ ({rows}); expected one: save the state again")
    loaded: S = _map(lambda path, leaf: tensors[path].to(leaf.device, copy=True), (like,), "")
    return loaded


def _children(state: Any) -> dict[str, Any] | None:
    """The parts of a container by name, or None for anything else."""
    if isinstance(state, dict):
        for key in state:
            if not isinstance(key, str) or not key or "." in key:
                raise UsageError(f"state: dictionary key {key!r}, expected text without a dot: rename it")
        return state
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        return dict(zip(state._fields, state, strict=True))
    if isinstance(state, tuple | list):
        return {str(place): part for place, part in enumerate(state)}
    return None


def _rebuild(like: Any, parts: list[Any]) -> Any:
    """A container of the kind of `like` with new parts."""
    if isinstance(like, dict):
        return dict(zip(like, parts, strict=True))
    return type(like)(*parts) if hasattr(like, "_fields") else type(like)(parts)


def _map(fn: Callable[..., Tensor], states: tuple[Any, ...], path: str) -> Any:
    """Call `fn(path, *leaves)` for each leaf; paths are such as `0.h`; a lone tensor has the path `state`."""
    first, place = states[0], path or "state"
    if len({_kind(state) for state in states}) > 1:
        kinds = " and ".join(_kind(state).__name__ for state in states)
        raise UsageError(f"states differ at {place}: {kinds}; expected one kind: use states of one model")
    if isinstance(first, Tensor):
        return fn(place, *states)
    if first is None:
        return None
    families = [_children(state) for state in states]
    if families[0] is None:
        raise UsageError(
            f"state: {type(first).__name__} found at {place}, expected a tensor, None, tuple, list or "
            "dictionary: keep only tensors in a state"
        )
    return _rebuild(first, _map_children(fn, families, path))


def _kind(state: Any) -> type:
    return Tensor if isinstance(state, Tensor) else type(state)


def _map_children(fn: Callable[..., Tensor], families: list[Any], path: str) -> list[Any]:
    names = list(families[0])
    for family in families:
        if family.keys() != families[0].keys():
            raise UsageError(
                f"states differ at {path or 'state'}: parts {names} and {list(family)}; "
                "expected the same: use states of one model"
            )
    paths = {name: f"{path}.{name}" if path else name for name in names}
    return [_map(fn, tuple(family[name] for family in families), paths[name]) for name in names]


def _leaves(state: object) -> dict[str, Tensor]:
    """Each tensor by its path."""
    found: dict[str, Tensor] = {}

    def note(path: str, leaf: Tensor) -> Tensor:
        found[path] = leaf
        return leaf

    _map(note, (state,), "")
    return found


def _take(leaf: Tensor, index: Tensor | slice) -> Tensor:
    try:
        taken = leaf[index]
    except IndexError as problem:
        raise UsageError(
            f"select: rows {index} are not in a state of {len(leaf)} rows ({problem}); "
            f"expected numbers from 0 to {len(leaf) - 1}: check the batch size"
        ) from problem
    return taken.clone() if isinstance(index, slice) else taken


def _choose(mask: Tensor, fresh: Tensor, kept: Tensor) -> Tensor:
    if mask.dtype != torch.bool or mask.shape != fresh.shape[:1] or fresh.shape != kept.shape:
        shapes = f"mask {mask.dtype} {tuple(mask.shape)}, new {tuple(fresh.shape)}, old {tuple(kept.shape)}"
        raise UsageError(
            f"where: {shapes}; expected a boolean mask (B,) and two states of equal shape (B, ...): "
            "make them equal first"
        )
    return torch.where(mask.reshape(-1, *[1] * (fresh.dim() - 1)), fresh, kept)


def _parse(data: bytes) -> dict[str, Tensor]:
    """The tensors of a saved state, once its version is known to be readable."""
    try:
        tensors = safetensors.torch.load(data)
    except (SafetensorError, KeyError) as problem:
        raise SavedFileError(
            f"saved state: {len(data)} bytes are not safetensors ({problem}); expected the output of "
            "to_bytes: get the bytes again"
        ) from problem
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    version = header.get("__metadata__", {}).get(_VERSION_KEY, "")
    if not re.fullmatch("[1-9][0-9]{0,8}", version):
        raise SavedFileError(
            f"saved state: safetensors without a {_VERSION_KEY!r} version (found {version!r}); "
            "expected the output of to_bytes: pass bytes that seqloom wrote"
        )
    if int(version) > _VERSION:
        raise SavedFileError(
            f"saved state: written by a newer seqloom, format {version}; this one reads up to {_VERSION}: "
            "upgrade seqloom"
        )
    return tensors


def _check_names(received: Any, expected: Any) -> None:
    missing, extra = sorted(expected - received), sorted(received - expected)
    if missing or extra:
        raise SavedFileError(
            f"saved state: missing {missing or 'nothing'}, unexpected {extra or 'nothing'}; "
            f"expected {sorted(expected)}: load it with the model that wrote it"
        )


def _check_leaf(path: str, received: Tensor, expected: Tensor) -> None:
    same_rank = received.dim() == expected.dim() and received.dim() > 0
    if same_rank and received.shape[1:] == expected.shape[1:] and received.dtype == expected.dtype:
        return
    raise SavedFileError(
        f"saved state: {path} is {received.dtype} {tuple(received.shape)}; expected {expected.dtype} "
        f"{('B', *expected.shape[1:])} with any batch size B: load it with the model that wrote it"
    )
