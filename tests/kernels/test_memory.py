"""Memory of the native kernels is kept from call to call, and never more of it than was once in use."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time

import pytest
import torch
from torch import Tensor

from seqloom.cells.lstm import LSTM
from seqloom.kernels import native
from seqloom.sequences import Sequences

LIBRARY = native.library()
pytestmark = pytest.mark.skipif(isinstance(LIBRARY, str), reason=str(LIBRARY))
B, T, I, H = 8, 400, 16, 64  # noqa: E741
KEPT = B * T * 5 * H * 4  # bytes that the way back of one layer reads
PAGE = resource.getpagesize()


def learn(cell: LSTM, steps: int = T) -> list[Tensor]:
    """Gradients of one batch, whose numbers depend on nothing but its size."""
    return torch.autograd.grad(ahead(cell, steps).sum(), list(cell.parameters()))


def ahead(cell: LSTM, steps: int = T) -> Tensor:
    x = torch.randn(B, steps, I, generator=torch.Generator().manual_seed(steps))
    output, _ = native.run(cell, Sequences.full(x), cell.initial_state(B))
    return output.values


@pytest.fixture
def cell() -> LSTM:
    LIBRARY.forget()
    return LSTM(I, H)


def in_use() -> int:
    return int(LIBRARY.memory()[0])


def kept() -> int:
    return int(LIBRARY.memory()[1])


def test_a_training_step_takes_no_new_memory(cell: LSTM) -> None:
    for _ in range(3):
        learn(cell)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        learn(cell)
    touched = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert touched * PAGE < KEPT  # of ten steps together; one alone would touch more, were its memory new


def test_what_is_kept_was_once_in_use(cell: LSTM) -> None:
    learn(cell)
    used, idle, most = LIBRARY.memory()
    assert used == 0
    assert KEPT <= idle <= most
    for steps in (50, 399, 20, 400, 210, 100):
        learn(cell, steps)
        assert in_use() == 0
        assert kept() <= most
    assert LIBRARY.memory()[2] == most


def test_more_memory_is_taken_when_more_is_in_use(cell: LSTM) -> None:
    learn(cell)
    most = LIBRARY.memory()[2]
    outputs = [ahead(cell) for _ in range(4)]
    assert in_use() >= 4 * KEPT > most
    del outputs
    assert in_use() == 0
    assert kept() >= 4 * KEPT


def test_a_smaller_batch_finds_the_block_of_a_larger_one(cell: LSTM) -> None:
    learn(cell)
    most = LIBRARY.memory()[2]
    held = ahead(cell, T - T // 4)
    assert LIBRARY.memory()[0] + LIBRARY.memory()[1] <= most
    assert in_use() > KEPT * 3 // 4  # no new block of just this size
    del held


def test_a_small_batch_leaves_a_large_block_alone(cell: LSTM) -> None:
    held = ahead(cell)
    del held
    kept_before = kept()
    held = ahead(cell, T // 3)
    assert in_use() < KEPT // 2
    assert kept() <= kept_before - KEPT  # given back: both together were never in use
    del held


def test_blocks_of_a_living_graph_are_left_alone(cell: LSTM) -> None:
    expected = [learn(cell, steps) for steps in (T, T - 1)]
    first, second = ahead(cell, T), ahead(cell, T - 1)
    learn(cell)
    for output, gradients in zip((first, second), expected, strict=True):
        for found, wanted in zip(torch.autograd.grad(output.sum(), list(cell.parameters())), gradients, strict=True):
            assert torch.equal(found, wanted)


def test_forgetting_gives_memory_back(cell: LSTM) -> None:
    outputs = [ahead(cell) for _ in range(20)]
    del outputs
    resident = _resident()
    assert kept() >= 20 * KEPT
    native.forget()
    assert kept() == 0
    assert _resident() < resident - 15 * KEPT


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE


def test_a_forked_child_computes_the_same(cell: LSTM) -> None:
    expected = learn(cell)
    child = os.fork()
    if child == 0:
        same = all(torch.equal(*pair) for pair in zip(learn(cell), expected, strict=True))
        os._exit(0 if same and kept() > 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_child_that_is_forked_while_memory_changes_hands_can_have_some(cell: LSTM) -> None:
    """Blocks of neither layer fit the other, so memory goes to and from the system all the time."""
    over = threading.Event()
    layers = [(LSTM(size, size), Sequences.full(torch.zeros(1, 1, size))) for size in (256, 700)]

    def run() -> None:
        with torch.no_grad():
            while not over.is_set():
                for layer, x in layers:
                    native.run(layer, x, layer.initial_state(1))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        for _ in range(200):  # a few of them while the lock is held
            child = os.fork()
            if child == 0:
                LIBRARY.empty(KEPT)
                os._exit(0)
            assert _ended(child), "the child waits for a lock that nobody holds"
    finally:
        over.set()
        thread.join()


def _ended(child: int) -> bool:
    """Whether a process ends by itself within ten seconds."""
    for _ in range(1000):
        if os.waitpid(child, os.WNOHANG)[0] == child:
            return True
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def test_outputs_outlive_the_call_that_made_them(cell: LSTM) -> None:
    with torch.no_grad():
        output = ahead(cell)
        copy, view = output.clone(), output[:, -1]
        del output
        for _ in range(3):
            ahead(cell)
    assert torch.equal(view, copy[:, -1])


def test_no_zeros_are_made_for_what_has_no_gradient(cell: LSTM) -> None:
    output = ahead(cell)
    with torch.profiler.profile(profile_memory=True) as profile:
        torch.autograd.grad(output.sum(), list(cell.parameters()))
    assert max(event.self_cpu_memory_usage for event in profile.key_averages()) < KEPT
