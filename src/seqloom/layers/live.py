"""Live sequences: a causal stack of cells that reads NumPy arrays as they arrive, one sequence or many at once."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqloom.errors import StreamingError, UsageError
from seqloom.kernels.stepping import choose_step
from seqloom.layers.recurrent import Recurrent
from seqloom.state import from_bytes, map_state, to_bytes

Array = npt.NDArray[Any]
Name = TypeVar("Name", bound=Hashable)


class Stepper:
    """The steps of all layers in a row, on arrays whose first dimension is the batch.

    The weights are those of the moment at which it is made, in evaluation mode; the stack itself is left alone.

    Args:
        core: a causal stack.
        backend: who runs the steps: `auto`, or a name in `seqloom.kernels.stepping.STEPPERS`.

    Attributes:
        input_size: features of a step.
        output_size: features of each answer.
        dtype: of the weights; inputs are converted to it.
        backends: who runs each layer.
        initial: the state before the first step, a value of `Recurrent` with one row.

    Raises:
        StreamingError: the stack reads backwards too.
        KernelError: the backend cannot run its cells.
    """

    def __init__(self, core: Recurrent, backend: str = "auto") -> None:
        if core.bidirectional:
            raise StreamingError(
                "this stack reads each sequence backwards too (bidirectional=True), so its answers wait for the end; "
                "make one with bidirectional=False to stream"
            )
        frozen = copy.deepcopy(core).eval()
        cells = [layer[0] for layer in frozen.cells()]
        with torch.no_grad():
            self.initial = map_state(Tensor.clone, frozen.initial_state(1))
        choices = [choose_step(cell.stepper, backend) for cell in cells]
        self.backends = [choice.name for choice in choices]
        ends = list(accumulate(len(to_arrays(state)) for state in self.initial))
        self._steps = [
            (choice.step, slice(first, end)) for choice, first, end in zip(choices, [0, *ends], ends, strict=False)
        ]
        self._shows_elapsed = frozen.reads_elapsed
        self.input_size, self.output_size = cells[0].input_size, frozen.output_size
        self.dtype = next(frozen.parameters()).detach().numpy().dtype

    def checked(self, steps: Array, shape: tuple[str, ...]) -> Array:
        """The input as an array of the weights' type.

        Raises:
            UsageError: it has another shape.
        """
        found = np.ascontiguousarray(steps, self.dtype)
        if found.ndim != len(shape) + 1 or found.shape[-1] != self.input_size:
            expected = ", ".join([*shape, str(self.input_size)])
            raise UsageError(f"the input has shape {found.shape}; expected ({expected}): one number for each feature")
        return found

    def __call__(self, x: Array, state: Sequence[Array]) -> Array:
        """(B, I) to (B, H); the arrays of the state (B, ...) are overwritten."""
        output = x
        for step, parts in self._steps:
            if output is not x and self._shows_elapsed:
                output = np.concatenate([x[:, :1], output], axis=1)
            output = step(output, state[parts])
        return output


class Live:
    """One live sequence.

    Reading a sequence in any pieces gives what `Recurrent` gives for the whole, up to rounding. There is no autograd.

    Args:
        core: a causal stack; its weights are taken as they are now.
        backend: who runs the steps, see `Stepper`.
    """

    def __init__(self, core: Recurrent, *, backend: str = "auto") -> None:
        self.stepper = Stepper(core, backend)
        self._state = to_arrays(self.stepper.initial)

    def step(self, x: Array) -> Array:
        """Read one step (I,); answers (H,)."""
        made: Array = self.stepper(self.stepper.checked(x, ())[None], self._state)[0]
        return made

    def read(self, steps: Array) -> Array:
        """Read the next steps (T, I); answers (T, H)."""
        rows = self.stepper.checked(steps, ("T",))
        made = np.empty((len(rows), self.stepper.output_size), self.stepper.dtype)
        for t in range(len(rows)):
            made[t] = self.stepper(rows[t : t + 1], self._state)[0]
        return made

    @property
    def state(self) -> Any:
        """What is remembered: a value of `Recurrent`, one row, that later steps do not change."""
        return to_state(self._state, self.stepper.initial)

    @state.setter
    def state(self, state: Any) -> None:
        """Go on from a state of one row; it stays as it is."""
        self._state = checked_state(state, self.stepper.initial)

    def to_bytes(self) -> bytes:
        """The state as safetensors."""
        return to_bytes(self.state)

    def from_bytes(self, data: bytes) -> None:
        """Go on from a state that `to_bytes` gave.

        Raises:
            SavedFileError: the bytes hold no state of this stack.
        """
        self.state = from_bytes(data, like=self.stepper.initial)


class LiveBatch:
    """Many live sequences, each with a name; whoever has a step is gathered into one batch.

    Sequences join and leave at any time. Their states are rows of common arrays.

    Args:
        core: a causal stack; its weights are taken as they are now.
        backend: who runs the steps, see `Stepper`.
    """

    def __init__(self, core: Recurrent, *, backend: str = "auto") -> None:
        self.stepper = Stepper(core, backend)
        self._initial = to_arrays(self.stepper.initial)
        self._rows = [part[:0].copy() for part in self._initial]
        self._place: dict[Hashable, int] = {}
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._place)

    def __contains__(self, name: Hashable) -> bool:
        return name in self._place

    def join(self, name: Hashable, state: Any = None) -> None:
        """A sequence begins, from the initial state or from one that another has left.

        Raises:
            UsageError: there is one of that name, or the state is not of this stack.
        """
        if name in self._place:
            raise UsageError(f"a sequence {name!r} has joined already; expected a new name, or let it leave first")
        found = self._initial if state is None else checked_state(state, self.stepper.initial)
        if not self._free:
            self._grow()
        row = self._free.pop()
        for part, value in zip(self._rows, found, strict=True):
            part[row] = value[0]
        self._place[name] = row

    def leave(self, name: Hashable) -> Any:
        """A sequence ends; its state is returned.

        Raises:
            UsageError: there is none of that name.
        """
        state = self.state(name)
        self._free.append(self._place.pop(name))
        return state

    def state(self, name: Hashable) -> Any:
        """What a sequence remembers: a value of `Recurrent`, one row.

        Raises:
            UsageError: there is none of that name.
        """
        (row,) = self._find([name])
        return to_state([part[row : row + 1] for part in self._rows], self.stepper.initial)

    def step(self, steps: Mapping[Name, Array]) -> dict[Name, Array]:
        """Read one step (I,) of each sequence that has one; answers (H,) by name.

        Raises:
            UsageError: a name has not joined, or a step has another shape.
        """
        names = list(steps)
        if not names:
            return {}
        made = self.step_rows(names, np.stack([np.asarray(steps[name]) for name in names]))
        return dict(zip(names, made, strict=True))

    def step_rows(self, names: Sequence[Hashable], steps: Array) -> Array:
        """Read one step of each named sequence, (B, I) in the order of the names; answers (B, H).

        Raises:
            UsageError: a name has not joined or stands there twice, or the steps have another shape.
        """
        x = self.stepper.checked(steps, ("B",))
        if len(x) != len(names) or len(set(names)) != len(names):
            raise UsageError(f"{len(x)} steps for the names {list(names)}; expected one step for each, each name once")
        rows = self._find(names)
        state = [part[rows] for part in self._rows]
        made = self.stepper(x, state)
        for part, value in zip(self._rows, state, strict=True):
            part[rows] = value
        return made

    def _find(self, names: Sequence[Hashable]) -> list[int]:
        absent = [name for name in names if name not in self._place]
        if absent:
            raise UsageError(f"no sequence {absent[0]!r} has joined ({len(self)} have); call join({absent[0]!r}) first")
        return [self._place[name] for name in names]

    def _grow(self) -> None:
        """Room for twice as many."""
        held = len(self._rows[0])
        more = max(held, 8)
        self._free = list(range(held + more - 1, held - 1, -1))
        self._rows = [np.concatenate([part, np.zeros((more, *part.shape[1:]), part.dtype)]) for part in self._rows]


class Rounding(NamedTuple):
    """How far answers with rounded weights are from those with the full ones.

    Attributes:
        largest: largest absolute difference of any number.
        typical: root of the mean square of all differences.
        share: `typical` as a share of the root of the mean square of the answers themselves.
    """

    largest: float
    typical: float
    share: float


def rounding(core: Recurrent, steps: Array, backend: str) -> Rounding:
    """What a backend that rounds the weights of a stack costs, measured over the steps (T, I) of one sequence."""
    exact = Live(core).read(steps).astype(np.float64)
    off = Live(core, backend=backend).read(steps) - exact
    typical, size = (float(np.sqrt(np.mean(np.square(values)))) for values in (off, exact))
    return Rounding(float(np.abs(off).max()), typical, typical / size if size else 0.0)


def to_arrays(state: Any) -> list[Array]:
    """The parts of a state in their order, copied."""
    found: list[Array] = []

    def note(leaf: Tensor) -> Tensor:
        found.append(leaf.detach().cpu().numpy().copy())
        return leaf

    map_state(note, state)
    return found


def to_state(arrays: Sequence[Array], like: Any) -> Any:
    """The state of the structure of `like` with the values of some arrays, copied."""
    parts = iter(arrays)
    return map_state(lambda _: torch.tensor(next(parts)), like)


def checked_state(state: Any, like: Any) -> list[Array]:
    """The arrays of a state with one row, in the types of `like`.

    Raises:
        UsageError: it has another structure or other sizes.
    """
    matched = map_state(_match, state, like)
    return to_arrays(matched)


def _match(leaf: Tensor, like: Tensor) -> Tensor:
    if leaf.shape != like.shape:
        raise UsageError(
            f"the state has a part of shape {tuple(leaf.shape)}; expected {tuple(like.shape)}: one row of this stack"
        )
    return leaf.to(like.dtype)
