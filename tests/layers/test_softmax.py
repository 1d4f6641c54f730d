"""The softmax over many items: in pieces, in bfloat16, and against items that were drawn."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import seqloom.layers.softmax
from seqloom.layers.sampled_softmax import log_expected, log_uniform, sampled_softmax_loss
from seqloom.layers.softmax import questions_at_once, softmax_loss


def questions(n: int, E: int, V: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Query, weight, bias and target."""
    torch.manual_seed(3)
    made = [torch.randn(*shape, dtype=dtype) for shape in ((n, E), (V, E), (V,))]
    return (*(part.requires_grad_() for part in made), torch.randint(0, V, (n,)))  # type: ignore[return-value]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("nearby", [1, 2 * 17 * 8, 1_000_000])
@pytest.mark.parametrize(("size", "at_once"), [(1, 1), (4 * 17 * 8, 4), (8_000_000, 58_823)])
def test_any_pieces_give_the_cross_entropy(
    size: int, at_once: int, nearby: int, smoothing: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seqloom.layers.softmax, "BYTES_AT_ONCE", size)
    monkeypatch.setattr(seqloom.layers.softmax, "BYTES_NEARBY", nearby)
    *weights, target = questions(9, 5, 17)
    query, weight, bias = weights
    assert questions_at_once(17, torch.float64) == at_once
    expected = cross_entropy(query @ weight.t() + bias, target, label_smoothing=smoothing)
    loss = softmax_loss(query, weight, bias, target, label_smoothing=smoothing)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)
    found, wanted = (torch.autograd.grad(3 * value, weights) for value in (loss, expected))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    with torch.no_grad():
        same = softmax_loss(query, weight, bias, target, label_smoothing=smoothing)
        torch.testing.assert_close(same, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_gradient_against_finite_differences(smoothing: float) -> None:
    *weights, target = questions(3, 2, 5)
    assert torch.autograd.gradcheck(lambda *w: softmax_loss(*w, target, label_smoothing=smoothing), weights)


def test_it_has_no_second_derivative() -> None:
    *weights, target = questions(3, 2, 5)
    (gradient,) = torch.autograd.grad(softmax_loss(*weights, target).square(), weights[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_scores_far_apart_stay_finite() -> None:
    query = torch.tensor([[1e4]], requires_grad=True)
    loss = softmax_loss(query, torch.tensor([[1.0], [-1.0]]), torch.zeros(2), torch.tensor([1]))
    assert loss.item() == pytest.approx(2e4)
    loss.backward()
    assert query.grad is not None
    assert query.grad.item() == pytest.approx(2.0)


def test_a_chance_too_small_for_its_type_does_not_spoil_the_others() -> None:
    query = torch.tensor([[1e4], [0.5]], requires_grad=True)
    weights, bias, target = torch.tensor([[1.0], [-1.0]]), torch.zeros(2), torch.tensor([1, 1])
    loss = softmax_loss(query, weights, bias, target)
    assert loss.item() == pytest.approx((2e4 + math.log(1 + math.e)) / 2)


@pytest.mark.parametrize("common", [0.0, -300.0])
def test_what_all_biases_share_changes_nothing(common: float) -> None:
    """Added to scores of bfloat16 it would round away all that tells items apart; biases begin at ln p, far from 0."""
    query, weight, bias, target = questions(64, 32, 50, torch.float32)
    shifted = (bias.detach() + common).requires_grad_()
    exact = softmax_loss(query, weight, bias, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = softmax_loss(query, weight, shifted, target)
    assert loss.item() == pytest.approx(exact.item(), rel=0.01)
    found, wanted = (torch.autograd.grad(value, b)[0] for value, b in ((loss, shifted), (exact, bias)))
    assert (found - wanted).norm() < 0.02 * wanted.norm()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_autocast_runs_the_products_in_its_type(smoothing: float) -> None:
    *weights, target = questions(61, 32, 50, torch.float32)
    exact = softmax_loss(*weights, target, label_smoothing=smoothing)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = softmax_loss(*weights, target, label_smoothing=smoothing)
    assert loss.dtype == torch.float32
    assert loss.item() != exact.item()
    for low, high in zip(torch.autograd.grad(loss, weights), torch.autograd.grad(exact, weights), strict=True):
        # bfloat16 keeps 8 bits of each factor.
        assert (low - high).norm() < 0.02 * high.norm()


def test_log_uniform_draws_are_as_frequent_as_expected() -> None:
    torch.manual_seed(0)
    drawn = log_uniform(200_000, 50)
    share = torch.bincount(drawn, minlength=50) / len(drawn)
    expected = log_expected(torch.arange(50), 1, 50).exp()
    assert float(expected.sum()) == pytest.approx(1, abs=1e-6)
    assert float((share - expected).abs().max()) < 0.004
    assert share[0] == pytest.approx(math.log(2) / math.log(51), abs=0.004)


def test_many_draws_come_near_the_full_softmax() -> None:
    """Loss and gradient of the question: the estimate is without bias."""
    query, weight, bias, target = questions(6, 4, 40)
    torch.manual_seed(1)
    loss = sampled_softmax_loss(query, weight, bias, target, samples=200_000)
    exact = softmax_loss(query, weight, bias, target)
    assert loss.item() == pytest.approx(exact.item(), abs=0.02)
    (found,), (wanted,) = (torch.autograd.grad(value, [query]) for value in (loss, exact))
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.01)


def test_a_draw_of_the_target_is_not_counted_twice() -> None:
    """With one item there is nothing else to draw: the target has all probability."""
    loss = sampled_softmax_loss(torch.ones(1, 2), torch.ones(1, 2), torch.zeros(1), torch.tensor([0]), samples=5)
    assert loss.item() == 0
