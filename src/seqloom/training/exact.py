"""Exact gradients of long sequences within a memory budget: read in chunks, then again from the last to the first."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqloom.batch import Batch, cut, in_chunks, own_scales
from seqloom.budget import plan_chunks
from seqloom.model import Memory, SequenceModel
from seqloom.outputs.output import Output, Places, PooledOutput, Reading
from seqloom.state import detach, map_state
from seqloom.training.lessons import Lessons, Material
from seqloom.training.order import Shuffled

_M_MMAP_THRESHOLD = -3  # glibc's number for the size from which blocks are the system's


class Exact(Lessons):
    """Backpropagation through whole sequences that keeps one chunk of them at a time.

    A first pass reads the chunks without a graph and keeps the memory before each. A second one goes from the last
    chunk to the first: it reads the chunk again, with the same random numbers, and carries the gradient with respect
    to the memory before it on to the chunk before that. The sum is the gradient of the whole, not an approximation.
    """

    def __init__(self, model: SequenceModel, material: Material) -> None:
        super().__init__(model, material)
        give_back_what_is_freed()
        self.plan = plan_chunks(model, material.encoded, material.train)
        self.order = Shuffled(len(material.train.segment), self.settings.batch_size, self.settings.seed)
        self.per_epoch = self.order.per_epoch

    def learn(self, number: int, share: float) -> float:
        """Two passes over one batch."""
        return self._learn(self._places(number), share)

    def reads(self, number: int) -> Iterator[tuple[Batch, Any]]:
        """The chunks of the batch, each with the state before it."""
        chunks = Chunks(self, self._places(number))
        memory = self.model.initial_memory(self.plan.rows)
        for k in range(len(chunks)):
            yield chunks.batch(k), memory.state
            with torch.no_grad():
                memory = chunks.advance(k, memory)

    @property
    def largest(self) -> str:
        """Rows and steps, and those of a chunk."""
        return f"{self.plan.rows} rows of {self.plan.longest} steps, in chunks of {self.plan.steps}"

    def rehearse(self) -> None:
        """The first two chunks of the longest rows: what all of them need at once."""
        places = self.material.train
        chosen = places.take(self.order.largest(places.origin - places.start))
        end = np.minimum(chosen.origin, chosen.start + 2 * self.plan.steps)
        self._learn(chosen._replace(origin=end, stop=end), 1.0)

    def _places(self, number: int) -> Places:
        return self.material.train.take(self.order.rows(number))

    def _learn(self, places: Places, share: float) -> float:
        chunks = Chunks(self, places)
        initial = self.model.initial_memory(self.plan.rows)
        before = [detach(initial)]
        with torch.no_grad():
            for k in range(len(chunks) - 1):
                before.append(chunks.advance(k, before[-1]))
        total, carried = 0.0, None
        for k in reversed(range(len(chunks))):
            start = map_state(_leaf, before.pop())
            loss, after = chunks.learn(k, start)
            _backward([(loss, torch.full_like(loss, share)), *zip(_floats(after), carried or [], strict=False)])
            carried = [leaf.grad for leaf in _floats(start)]
            total += loss.item()
        _backward(list(zip(_floats(initial), carried or [], strict=True)))  # what of it is learned
        return total


class Chunks:
    """One batch of sequences in chunks; each chunk draws the random numbers of its own seed, as often as it is read.

    Args:
        lessons: model, material and plan.
        places: the rows.
    """

    def __init__(self, lessons: Exact, places: Places) -> None:
        self.lessons = lessons
        self.model = lessons.model
        self.parts = list(in_chunks(places, lessons.plan.steps))
        self.scales = own_scales(lessons.material.encoded, places, self.model.inputs)
        self.seed = int(torch.randint(2**62, ()))
        self.known = dict.fromkeys(self.model.outputs, 0)
        for part in self.parts:
            targets = cut(lessons.material.encoded, part, {}, self.model.outputs).targets
            for name, output in self.model.outputs.items():
                self.known[name] += output.known(targets[name])

    def __len__(self) -> int:
        return len(self.parts)

    def batch(self, k: int) -> Batch:
        """Chunk k."""
        return cut(self.lessons.material.encoded, self.parts[k], self.model.inputs, self.model.outputs, self.scales)

    def advance(self, k: int, memory: Memory) -> Memory:
        """The memory after chunk k."""
        return self._read(k, self.batch(k), memory)[1]

    def learn(self, k: int, memory: Memory) -> tuple[Tensor, Memory]:
        """What chunk k adds to the mean loss of the batch, and the memory after it."""
        batch, final = self.batch(k), k == len(self) - 1
        reading, after = self._read(k, batch, memory)
        with self.lessons.arithmetic():
            raw = self.model.decode_chunk(reading, after, final=final)
        loss = next(self.model.parameters()).new_zeros(())
        for name, answer in self.lessons.full(raw).items():
            output = self.model.outputs[name]
            loss = loss + output.weight * self._share(output, batch) * self.model.output_loss(name, answer, batch)
        return loss, after

    def _read(self, k: int, batch: Batch, memory: Memory) -> tuple[Reading, Memory]:
        torch.manual_seed(self.seed + k)
        with self.lessons.arithmetic():
            return self.model.advance(batch, memory, final=k == len(self) - 1)

    def _share(self, output: Output, batch: Batch) -> float:
        """Of an output's mean loss over the batch, the part that its mean over this chunk makes up."""
        if isinstance(output, PooledOutput):
            return 1.0
        return output.known(batch.targets[output.name]) / max(self.known[output.name], 1)


def give_back_what_is_freed() -> None:
    """Large blocks of memory go back to the system once they are freed, in this process from now on.

    glibc by itself keeps blocks of sizes that were freed before, and the gaps between them make the peak up to half as
    large again, by chance. Other C libraries are left as they are.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 20)


def _leaf(tensor: Tensor) -> Tensor:
    """The same values at the beginning of a graph, where they may have a gradient."""
    return tensor.detach().requires_grad_(tensor.is_floating_point())


def _floats(memory: Memory) -> list[Tensor]:
    """The parts that may have a gradient, in a fixed order."""
    found: list[Tensor] = []

    def note(leaf: Tensor) -> Tensor:
        if leaf.is_floating_point():
            found.append(leaf)
        return leaf

    map_state(note, memory)
    return found


def _backward(roots: Sequence[tuple[Tensor, Tensor | None]]) -> None:
    """Carry gradients back from tensors that have both a graph and a gradient."""
    found = [(root, gradient) for root, gradient in roots if root.requires_grad and gradient is not None]
    if found:
        tensors, gradients = zip(*found, strict=True)
        torch.autograd.backward(tensors, gradients)
