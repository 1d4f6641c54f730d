"""A product whose rows are filled up: the same answers and gradients, and few shapes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from seqloom.layers.linear import Linear, filled_up

PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)


class Shapes(TorchDispatchMode):
    """Notes the shapes of every matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[tuple[Any, ...]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in PRODUCTS:
            self.found.add(tuple(tuple(part.shape) for part in args if isinstance(part, Tensor)))
        return func(*args, **(kwargs or {}))


def lowered() -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def example(*rows: int) -> Tensor:
    return torch.randn(*rows, 6).requires_grad_()


@pytest.mark.parametrize("rows", [(0,), (1,), (7,), (2, 0), (3, 100), (2, 2, 64), (5, 64)])
@pytest.mark.parametrize("bias", [True, False])
def test_answers_and_gradients_are_torchs(rows: tuple[int, ...], bias: bool) -> None:
    layer, plain, input = Linear(6, 4, bias=bias), nn.Linear(6, 4, bias=bias), example(*rows)
    plain.load_state_dict(layer.state_dict())
    found = []
    for one in (layer, plain):
        with lowered():
            output = one(input)
        assert output.dtype == torch.bfloat16
        weights = [input, *one.parameters()]
        found.append((output, *torch.autograd.grad(output.float().square().sum(), weights)))
    for own, theirs in zip(*found, strict=True):
        # One rounding of bfloat16 apart, where sums run in another order.
        torch.testing.assert_close(own, theirs, rtol=2**-7, atol=2**-7 * (1 + float(theirs.detach().abs().sum()) / 50))


def test_without_casting_it_is_torchs_own() -> None:
    layer, input = Linear(6, 4), example(3, 100)
    assert torch.equal(layer(input), nn.functional.linear(input, layer.weight, layer.bias))


def test_batches_of_many_sizes_make_products_of_few_shapes() -> None:
    layer = Linear(6, 4)
    with Shapes() as shapes:
        for rows in range(257, 512, 17):
            with lowered():
                output = layer(example(rows))
            output.sum().backward()
    assert len(shapes.found) == 3  # forward, and two back


def test_sizes_are_few_and_little_is_filled_up() -> None:
    sizes = {rows: filled_up(rows) for rows in range(1, 5000)}
    assert len(set(sizes.values())) == 9 + 19
    assert all(rows <= size < 2 * rows and size < rows + 256 for rows, size in sizes.items())
    assert filled_up(0) == 1
