"""How long the chunks may be that a memory budget allows, where gradients of long sequences are exact.

Backpropagation in chunks keeps the state before each chunk, and everything else of one chunk only. With T steps, chunks
of L steps, a state of S bytes and A bytes kept for each step, that is `T / L * S + L * A`, besides what is there anyway
(Chen et al., Training deep nets with sublinear memory cost, arXiv:1604.06174, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqloom.batch import Encoded, cut
from seqloom.errors import RecipeError
from seqloom.model import SequenceModel
from seqloom.outputs.output import Places
from seqloom.sizes import format_size, parse_size
from seqloom.state import map_state

PROCESS = 560_000_000  # bytes of Python and the libraries while training, measured
COPIES = 8  # of the weights: themselves, gradients, two moments, running mean, best, and those of a validation
TABLE = 12  # times the encoded table: as it is read, its segments, and encoded; measured with a text for each step
NODE = 1200  # bytes that autograd spends on a saved tensor besides its numbers, measured
GRADIENTS = 2.5  # a chunk at the height of its backward pass, in units of what its forward pass kept; the most measured
PROBE = (32, 96)  # steps of the two trial chunks whose difference is the cost of a step


class Plan(NamedTuple):
    """How long sequences are cut.

    Attributes:
        rows: of a batch.
        longest: steps of the longest sequence.
        steps: of a chunk.
        parts: bytes at the peak, predicted, by what they hold.
    """

    rows: int
    longest: int
    steps: int
    parts: dict[str, int]

    @property
    def chunks(self) -> int:
        """Of the longest sequence."""
        return -(-self.longest // self.steps)

    @property
    def peak(self) -> int:
        """Predicted bytes in all."""
        return sum(self.parts.values())


def plan_chunks(model: SequenceModel, encoded: Encoded, places: Places) -> Plan:
    """The longest chunks that keep the training process within `training.memory`.

    A function of recipe and data: two small chunks are tried, and what autograd keeps of them is counted.

    Raises:
        RecipeError: no chunks are short enough; says what is needed.
    """
    settings = model.recipe.training
    assert settings.memory is not None
    rows = min(settings.batch_size, len(places.segment))
    longest = max(int((places.origin - places.start).max(initial=0)), 1)
    step, state = _cost(model, encoded, places, rows)
    there = {
        "Python and libraries": PROCESS,
        "the table": TABLE * _tensor_bytes([*encoded.inputs.values(), *encoded.targets.values()]),
        "weights, gradients, moments": COPIES * _tensor_bytes(model.parameters()),
    }
    room = parse_size(settings.memory) - sum(there.values())
    steps = _longest_chunk(room, longest, step, state)
    if steps == 0:
        least = sum(there.values()) + math.ceil(2 * math.sqrt(step * longest * state)) + 2 * state
        parts = ", ".join(f"{name} {format_size(size)}" for name, size in there.items())
        raise RecipeError(
            f"training.memory is {settings.memory}, too little for {rows} rows of {longest} steps: {parts}, and "
            f"{format_size(step)} for each step of a chunk; expected at least {format_size(1.01 * least)}: raise it, "
            "or lower training.batch_size (training.accumulate keeps the step the same) or core.hidden_size"
        )
    kept = {"states between chunks": -(-longest // steps) * state, "one chunk": steps * step}
    return Plan(rows, longest, steps, there | kept)


def _longest_chunk(room: int, longest: int, step: int, state: int) -> int:
    """The longest L up to T with `(T / L + 1) * S + L * A` within the room; T where all fits; 0 where nothing does."""
    if state + longest * step <= room:
        return longest
    room -= state
    square = room**2 - 4 * step * longest * state
    if room <= 0 or square < 0:
        return 0
    return min((room + math.isqrt(square)) // (2 * step), longest)


def _cost(model: SequenceModel, encoded: Encoded, places: Places, rows: int) -> tuple[int, int]:
    """Bytes of one more step in a chunk, and of the state between chunks, for so many of the longest rows."""
    order = np.argsort(places.start - places.origin, kind="stable")[:rows]
    was_training = model.training
    model.train()
    found = [_kept(model, encoded, places.take(order), steps) for steps in PROBE]
    model.train(was_training)
    (short, _), (long, state) = found
    return math.ceil(GRADIENTS * max(long - short, 1) / (PROBE[1] - PROBE[0])), state


def _kept(model: SequenceModel, encoded: Encoded, places: Places, steps: int) -> tuple[int, int]:
    """Bytes that a chunk of so many steps keeps for its backward pass, and bytes of the state after it."""
    saved: dict[int, int] = {}
    nodes = 0

    def note(tensor: Tensor) -> Tensor:
        nonlocal nodes
        nodes += 1
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    # Rows shorter than the trial read their last steps again: only the amount matters.
    end = places.start + steps
    first = places._replace(origin=end, stop=end)
    with torch.random.fork_rng(devices=[]), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        batch = cut(encoded, first, model.inputs, model.outputs)
        reading, memory = model.advance(batch, model.initial_memory(len(batch.lengths)))
        loss = model.loss(model.decode_chunk(reading, memory), batch)
    del loss
    read = _tensor_bytes([*batch.inputs.values(), *batch.targets.values()])
    return sum(saved.values()) + NODE * nodes + read, _bytes(memory)


def _bytes(state: Any) -> int:
    """Of all tensors of a state."""
    sizes: list[int] = []

    def note(leaf: Tensor) -> Tensor:
        sizes.append(leaf.numel() * leaf.element_size())
        return leaf

    map_state(note, state)
    return sum(sizes)


def _tensor_bytes(tensors: Iterable[object]) -> int:
    """Of those that are tensors; inputs that hold none are not read in chunks."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if isinstance(tensor, Tensor))
