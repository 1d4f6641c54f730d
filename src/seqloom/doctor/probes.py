"""What a unit may follow: the inputs, their running sums, and the answers, step by step."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqloom.batch import Batch
from seqloom.model import SequenceModel
from seqloom.outputs.output import ClassOutput, Shape
from seqloom.shown import moving

WORDS = 8  # most frequent words of an input that are looked for


class Probe(NamedTuple):
    """A name and its values (B, T); NaN where there is none."""

    name: str
    values: Tensor


def probes(model: SequenceModel, batch: Batch) -> list[Probe]:
    """Everything that a unit may follow. A running sum is what a unit that counts goes along with."""
    found = [probe for name in moving(model) for probe in _of_input(model, batch, name)]
    sums = [Probe(f"running sum of {name}", values.nan_to_num(0.0).cumsum(dim=1)) for name, values in found]
    return found + sums + [probe for name in model.outputs for probe in _of_output(model, batch, name)]


def _of_input(model: SequenceModel, batch: Batch, name: str) -> list[Probe]:
    values, input = batch.inputs[name], model.inputs[name]
    if values.is_floating_point():
        columns = input.columns[: values.shape[2]]
        return [Probe(column, values[:, :, place]) for place, column in enumerate(columns)]
    return _indicators(values[:, :, 0], lambda code: f"{name} {input.word(code)!r}")


def _of_output(model: SequenceModel, batch: Batch, name: str) -> list[Probe]:
    """Classes at every step: as numbers where all of them are, else one by one."""
    output, target = model.outputs[name], batch.targets.get(name)
    if not isinstance(output, ClassOutput) or output.shape is not Shape.STEPS or target is None:
        return []
    codes, words = target[:, :, 0], output.vocabulary.words
    numbers = [_number(word) for word in words]
    if all(number == number for number in numbers):
        table = torch.tensor([*numbers, float("nan")], dtype=torch.float64)  # the last one is that of code -1
        return [Probe(f"answer {name}", table[codes])]
    found = _indicators(codes, lambda code: f"answer {name} {words[code]!r}")
    return [Probe(probe.name, torch.where(codes < 0, torch.nan, probe.values)) for probe in found]


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return float("nan")


def _indicators(codes: Tensor, name: Any) -> list[Probe]:
    """1 where a code stands, 0 elsewhere, for the most frequent codes."""
    found, counts = torch.unique(codes[codes >= 0], return_counts=True)
    frequent = found[counts.argsort(descending=True, stable=True)][:WORDS].tolist()
    return [Probe(name(int(code)), (codes == code).double()) for code in sorted(frequent)]
