"""Losses and monitors of outputs with an answer for each step are means over known targets, so that chunks add up."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from catalogue import CASES, Case, build
from seqloom.batch import Batch, cut, in_chunks, own_scales
from seqloom.model import SequenceModel
from seqloom.outputs.output import Output, Shape
from seqloom.recipe import parse_recipe


def answers_each_step(case: Case) -> bool:
    model = SequenceModel(parse_recipe(case.recipe()))
    return model.causal and all(output.shape is Shape.STEPS for output in model.outputs.values())


STEPS = [case for case in CASES if answers_each_step(case)]


def totals(model: SequenceModel, output: Output, batch: Batch, state: object = None) -> tuple[np.ndarray, object]:
    """Known targets, sum of the loss and sum of the metric over a batch; and the state after it."""
    with torch.no_grad():
        reading, state = model.read(batch, state)
        raw = output(reading)
        target = batch.targets[output.name]
        loss = model.output_loss(output.name, raw, batch).item()
        scale = batch.scales.get(str(output.source))
        _, metric = output.monitor(output.answers(raw, scale), target.numpy())
    known = output.known(target)
    return np.array([known, known * loss, known * metric if known else 0.0]), state


@pytest.mark.parametrize("case", STEPS, ids=lambda case: case.name)
def test_chunks_add_up_to_the_whole(case: Case) -> None:
    built = build(case)
    model, inputs, outputs = built.model, built.model.inputs, built.model.outputs
    scales = own_scales(built.encoded, built.places, inputs)
    whole = cut(built.encoded, built.places, inputs, outputs)
    for output in outputs.values():
        expected, _ = totals(model, output, whole)
        assert expected[0] > 10
        found, state = np.zeros(3), None
        for chunk in in_chunks(built.places, 3):
            part, state = totals(model, output, cut(built.encoded, chunk, inputs, outputs, scales), state)
            found += part
        np.testing.assert_allclose(found, expected, rtol=1e-12)
