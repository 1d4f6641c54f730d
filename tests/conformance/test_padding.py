"""Padding: what it holds, how much there is and who else is in the batch change nothing."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from catalogue import CASES, Built, Case, build
from seqloom.batch import Batch, cut
from seqloom.inputs.input import Role
from seqloom.outputs.output import Shape
from seqloom.state import map_state, select

EACH_STEP = (Shape.STEPS, Shape.SPAN)  # outputs that say something of every step
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


class Found(NamedTuple):
    """All that a batch leads to."""

    raw: dict[str, Tensor]
    loss: Tensor
    gradients: dict[str, Tensor]
    final: Any


def run(built: Built, batch: Batch) -> Found:
    model = built.model
    model.zero_grad()
    reading, final = model.read(batch)
    raw = {name: output(reading) for name, output in model.outputs.items()}
    loss = model.loss(raw, batch)
    loss.backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    return Found({name: answer.detach() for name, answer in raw.items()}, loss.detach(), gradients, final)


def batch_of(built: Built, rows: list[int] | None = None) -> Batch:
    places = built.places if rows is None else built.places.take(np.array(rows, np.int64))
    return cut(built.encoded, places, built.model.inputs, built.model.outputs)


def outside(batch: Batch, values: Tensor) -> Tensor:
    """Where `values` (B, T, ...) are padding."""
    padding = torch.arange(values.shape[1]) >= batch.lengths.unsqueeze(1)
    return padding.reshape(*padding.shape, *[1] * (values.dim() - 2))


def poked(built: Built, batch: Batch, poison: float) -> Batch:
    """Poison in all padding; codes, which must stay in the vocabulary, become another word."""
    inputs = dict(batch.inputs)
    for name, input in built.model.inputs.items():
        if input.role is not Role.STATIC:
            values = inputs[name]
            other = values.new_full((), poison if values.is_floating_point() else 1)
            inputs[name] = torch.where(outside(batch, values), other, values)
    return batch._replace(inputs=inputs)


def longer(built: Built, batch: Batch, more: int) -> Batch:
    """More padding behind every row."""

    def pad(values: Tensor, filler: float) -> Tensor:
        return torch.cat([values, values.new_full((len(values), more, *values.shape[2:]), filler)], dim=1)

    inputs = {n: v if built.model.inputs[n].role is Role.STATIC else pad(v, 1) for n, v in batch.inputs.items()}
    steps = {n: output.missing for n, output in built.model.outputs.items() if output.shape in EACH_STEP}
    targets = {n: pad(v, steps[n]) if n in steps else v for n, v in batch.targets.items()}
    return batch._replace(inputs=inputs, targets=targets)


def assert_same(found: Found, expected: Found, tolerance: float = 0.0) -> None:
    torch.testing.assert_close(found.loss, expected.loss, rtol=0, atol=tolerance)
    assert found.gradients.keys() == expected.gradients.keys()
    torch.testing.assert_close(found.gradients, expected.gradients, rtol=0, atol=tolerance)
    map_state(lambda a, b: assert_close(a, b, tolerance), found.final, expected.final)


def assert_close(found: Tensor, expected: Tensor, tolerance: float) -> Tensor:
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
    return found


def valid_steps(built: Built, name: str, answer: Tensor, batch: Batch) -> list[Tensor]:
    """The answers of each row, those on padding left out."""
    output = built.model.outputs[name]
    if output.shape in EACH_STEP:
        return [row[:length] for row, length in zip(answer, batch.lengths.tolist(), strict=True)]
    if output.shape is Shape.OWN:
        known = (batch.targets[name] != output.missing).sum(dim=1)
        return [row[:length] for row, length in zip(answer, known.tolist(), strict=True)]
    return list(answer)


@every_case
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -1e30])
def test_what_padding_holds_is_irrelevant(case: Case, poison: float) -> None:
    built = build(case)
    batch = batch_of(built)
    assert int(batch.lengths.min()) < int(batch.lengths.max()), "no padding, so nothing is shown"
    expected, found = run(built, batch), run(built, poked(built, batch, poison))
    assert_same(found, expected)
    for name, answer in found.raw.items():
        torch.testing.assert_close(answer, expected.raw[name], rtol=0, atol=0)
    assert bool(torch.isfinite(expected.loss))
    assert any(gradient.abs().max() > 0 for gradient in expected.gradients.values())


@every_case
def test_how_much_padding_there_is_is_irrelevant(case: Case) -> None:
    built = build(case)
    batch = batch_of(built)
    expected = run(built, batch)
    for more in (1, 7):
        wide = longer(built, batch, more)
        found = run(built, wide)
        assert_same(found, expected, tolerance=1e-10)
        for name, answer in found.raw.items():
            for mine, theirs in zip(
                valid_steps(built, name, answer, batch),
                valid_steps(built, name, expected.raw[name], batch),
                strict=True,
            ):
                assert_close(mine, theirs, 1e-10)


@every_case
def test_a_row_alone_is_as_in_a_batch(case: Case) -> None:
    """Answers, final state and gradients of each row, the empty ones included."""
    built = build(case)
    batch = batch_of(built)
    assert case.table != "examples" or int(batch.lengths.min()) == 0
    reading, final = built.model.read(batch)
    together = {name: output(reading) for name, output in built.model.outputs.items()}
    for row in range(0, len(batch.lengths), 3 if len(batch.lengths) > 12 else 1):
        single = batch_of(built, [row])
        reading, alone_final = built.model.read(single)
        map_state(lambda a, b: assert_close(a, b, 1e-10), alone_final, select(final, [row]))
        for name, output in built.model.outputs.items():
            (alone,) = valid_steps(built, name, output(reading), single)
            theirs = valid_steps(built, name, together[name], batch)[row]
            assert_close(alone.detach(), theirs.detach(), 1e-10)
            weights = [w for w in built.model.parameters() if w.requires_grad]
            # An empty row may be answered without any weight; there is still a gradient then, of zeros.
            nothing = sum(0 * weight.sum() for weight in weights)
            # Outputs share what was read, so its graph stays for the next of them.
            how = {"allow_unused": True, "materialize_grads": True, "retain_graph": True}
            mine = torch.autograd.grad(alone.sum() + nothing, weights, **how)
            others = torch.autograd.grad(theirs.sum(), weights, **how)
            for a, b in zip(mine, others, strict=True):
                assert_close(a, b, 1e-9)


ALL_INPUTS = [case for case in CASES if "-all-" in case.name]


@pytest.mark.parametrize("case", ALL_INPUTS, ids=lambda case: case.name)
def test_any_company_in_any_order(case: Case) -> None:
    built = build(case)
    whole = batch_of(built)
    reading, _ = built.model.read(whole)
    together = {name: output(reading).detach() for name, output in built.model.outputs.items()}

    @given(st.lists(st.integers(0, len(whole.lengths) - 1), min_size=1, max_size=6))
    def holds(rows: list[int]) -> None:
        batch = batch_of(built, rows)
        raw = built.model(batch)
        for name in built.model.outputs:
            mine = valid_steps(built, name, raw[name].detach(), batch)
            theirs = valid_steps(built, name, together[name], whole)
            for k, row in enumerate(rows):
                assert_close(mine[k], theirs[row], 1e-10)

    holds()


@pytest.mark.parametrize("case", ALL_INPUTS, ids=lambda case: case.name)
def test_kernels_agree_on_ragged_batches(case: Case) -> None:
    built = build(case)
    expected = run(built, batch_of(built))
    built.model.core.backend = "reference"
    found = run(built, batch_of(built))
    assert_same(found, expected, tolerance=1e-10)
