"""The scores of additive attention in pieces, against the whole table."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import seqloom.layers.additive_scores
from seqloom.layers.additive_scores import additive_scores


def example(B: int, U: int, S: int, A: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and v."""
    return tuple(torch.randn(*shape, dtype=dtype).requires_grad_() for shape in ((B, U, A), (B, S, A), (A,)))  # type: ignore[return-value]


def plain(query: Tensor, key: Tensor, v: Tensor) -> Tensor:
    return torch.tanh(query.unsqueeze(2) + key.unsqueeze(1)) @ v


@pytest.mark.parametrize("nearby", [1, 2 * 3 * 4 * 6 * 8, 1_000_000])
@pytest.mark.parametrize("sizes", [(5, 3, 4, 6), (5, 3, 0, 6), (5, 0, 4, 6), (0, 3, 4, 6), (1, 1, 1, 1)])
def test_any_pieces_give_the_whole(
    nearby: int, sizes: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seqloom.layers.additive_scores, "BYTES_NEARBY", nearby)
    parts = example(*sizes)
    found, expected = additive_scores(*parts), plain(*parts)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    weigh = torch.randn_like(expected)
    own, theirs = (torch.autograd.grad((weigh * scores).sum(), parts) for scores in (found, expected))
    torch.testing.assert_close(own, theirs, rtol=0, atol=1e-12)


def test_gradient_against_finite_differences() -> None:
    assert torch.autograd.gradcheck(additive_scores, example(2, 3, 4, 2))


def test_it_has_no_second_derivative() -> None:
    parts = example(2, 3, 4, 2)
    (gradient,) = torch.autograd.grad(additive_scores(*parts).square().sum(), parts[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_nothing_of_the_size_of_the_table_is_kept_for_the_way_back() -> None:
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        additive_scores(*example(2, 30, 40, 5))
    assert max(kept) == 2 * 40 * 5


def test_short_numbers_are_summed_in_long_ones() -> None:
    query, key, v = example(2, 3, 4, 200, torch.float32)
    short = [part.detach().bfloat16().requires_grad_() for part in (query, key)]
    scores = additive_scores(*short, v)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, plain(*(part.float() for part in short), v), rtol=1e-5, atol=1e-5)
    gradient = torch.autograd.grad(scores.sum(), short)
    assert {part.dtype for part in gradient} == {torch.bfloat16}
