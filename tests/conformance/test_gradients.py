"""Gradients against finite differences in float64, for every cell and for every output's loss."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from catalogue import CASES, CELLS, Case, build
from seqloom.batch import cut
from seqloom.cells.cell import Cell
from seqloom.layers.recurrent import Recurrent
from seqloom.lookup import find
from seqloom.sequences import Sequences

SMOOTH = [case for case in CASES if case.name.endswith(("-all-gru", "-both-ways")) or "-front" in case.name]


# Every cell runs on the reference, those that torch has a function for on that one too.
BOTH = [(c, b) for c in CELLS for b in ("fused", "reference") if b == "reference" or find("cells", c, Cell).fused]


def right_in_a_draw(check: Callable[[int], bool], seed: int) -> bool:
    """Whether one of three draws passes: a wrong gradient is wrong in all of them, while now and then the kink of a
    ReLU lies within the finite differences of one."""
    return any(check(seed + draw) for draw in range(3))


@pytest.mark.parametrize(("cell", "backend"), BOTH)
@pytest.mark.parametrize("given", [True, False], ids=["state given", "state omitted"])
def test_a_stack_of_cells(cell: str, backend: str, given: bool, seed: int) -> None:
    """Outputs and final state with respect to input, initial state and weights; rows of 0, 1 and 3 steps."""
    assert right_in_a_draw(partial(stack_is_right, cell, backend, given), seed)


def stack_is_right(cell: str, backend: str, given: bool, seed: int) -> bool:
    torch.manual_seed(seed)
    model = Recurrent(find("cells", cell, Cell), 2, 2, num_layers=2, bidirectional=True, backend=backend)
    lengths = torch.tensor([3, 0, 1])
    values = torch.randn(3, 3, 2, requires_grad=True)
    ((layout, *_), *_) = start = model.initial_state(3)
    leaves = [torch.rand_like(leaf).requires_grad_() for layer in start for state in layer for leaf in state]
    weights = list(model.parameters())
    with torch.no_grad():
        for weight in weights:  # biases of zero put units that see only dead ones on the kink of ReLU
            weight.add_(0.1 * torch.rand_like(weight) * (weight == 0))

    def run(values: Tensor, *parts: Tensor) -> list[Tensor]:
        state = None
        if given:
            queue = list(parts[: len(leaves)])
            state = tuple(tuple(type(layout)(*(queue.pop(0) for _ in layout)) for _ in layer) for layer in start)
        output, final = model(Sequences(values, lengths), state)
        return [output.values, *(leaf for layer in final for state in layer for leaf in state if leaf.requires_grad)]

    inputs = (values, *(leaves if given else []), *weights)
    return torch.autograd.gradcheck(run, inputs, fast_mode=True, raise_exception=False)


@pytest.mark.parametrize("case", SMOOTH, ids=lambda case: case.name)
def test_every_output_loss(case: Case, seed: int) -> None:
    """The loss of a ragged batch with missing targets, with respect to every weight of the model."""
    assert right_in_a_draw(partial(loss_is_right, case), seed)


def loss_is_right(case: Case, seed: int) -> bool:
    built = build(case, seed)
    rows = torch.linspace(0, len(built.places.segment) - 1, 6).long().numpy()
    batch = cut(built.encoded, built.places.take(rows), built.model.inputs, built.model.outputs)
    weights = list(built.model.parameters())

    def loss(*_: Tensor) -> Tensor:
        return built.model.loss(built.model(batch), batch)

    return torch.autograd.gradcheck(loss, weights, fast_mode=True, raise_exception=False)


def test_padding_has_no_gradient(seed: int) -> None:
    torch.manual_seed(seed)
    for cell in CELLS:
        # So many units that some of ReLU's are alive whatever the draw: a dead layer has no gradient anywhere.
        model = Recurrent(find("cells", cell, Cell), 2, 32, num_layers=2)
        values = torch.randn(4, 5, 2, requires_grad=True)
        lengths = torch.tensor([5, 0, 2, 3])
        output, _ = model(Sequences(values, lengths))
        output.values.sum().backward()
        assert values.grad is not None
        padding = torch.arange(5) >= lengths.unsqueeze(1)
        assert bool((values.grad[padding] == 0).all())
        assert bool((values.grad[~padding] != 0).any())
