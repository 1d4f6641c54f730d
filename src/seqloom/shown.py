"""What goes into a model at the steps of one row, as people read it."""

from __future__ import annotations

from typing import Any

from seqloom.batch import Batch
from seqloom.inputs.input import Role
from seqloom.model import SequenceModel


def moving(model: SequenceModel) -> list[str]:
    """Names of the inputs along time."""
    return [name for name, input in model.inputs.items() if input.role is not Role.STATIC]


def shown_inputs(model: SequenceModel, batch: Batch, row: int, steps: int) -> list[dict[str, Any]]:
    """What goes in at the last steps of one row, in natural units or as words; `steps` counts those of the core."""
    last, factor = int(batch.lengths[row]), model.front.factor
    part = slice(max(-(-last // factor) - steps, 0) * factor, last)
    found: list[dict[str, Any]] = []
    for name in moving(model):
        values = batch.inputs[name][row, part]
        if not values.is_floating_point():
            found.append({"name": name, "words": [model.inputs[name].word(code) for code in values[:, 0].tolist()]})
            continue
        for place, column in enumerate(model.inputs[name].columns[: values.shape[1]]):
            numbers = [None if value != value else round(value, 6) for value in values[:, place].tolist()]
            found.append({"name": column, "numbers": numbers})
    return found
