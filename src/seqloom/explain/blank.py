"""A batch in which nothing was observed, read, encoded and cut as any table is."""

from __future__ import annotations

import numpy as np

from seqloom.batch import Batch, cut, encode
from seqloom.data.segments import Column, Segments
from seqloom.inputs.input import Input, OwnAxis, Role, StandardisedInput
from seqloom.model import SequenceModel
from seqloom.outputs.output import Places


def blank_batch(model: SequenceModel, rows: int, steps: int) -> Batch:
    """So many rows of `steps` past steps, then the horizon; without targets."""
    length = steps + model.horizon
    along: dict[str, Column] = {}
    static: dict[str, Column] = {}
    for input in model.inputs.values():
        if isinstance(input, OwnAxis):
            static |= {column: np.full(rows, input.sample(steps), object) for column in input.columns}
        elif input.role is Role.STATIC:
            static |= _columns(input, rows)
        else:
            along |= _columns(input, rows * length)
    days = np.datetime64("2000-01-01", "us") + np.arange(length) * np.timedelta64(1, "D")
    offsets = np.arange(rows + 1, dtype=np.int64) * length
    segments = Segments([str(k) for k in range(rows)], offsets, along, static, np.tile(days, rows), "1d")
    start = np.zeros(rows, np.int64)
    places = Places(np.arange(rows), start, start + steps, start + length)
    return cut(encode(segments, model.inputs, {}), places, model.inputs, {})


def _columns(input: Input, count: int) -> dict[str, Column]:
    """Missing values in each column that an input reads, as wide as they were in the training part."""
    if input.reads_text:
        return {column: np.full(count, None, object) for column in input.columns}
    known = len(input.standard.mean) if isinstance(input, StandardisedInput) else len(input.columns)
    widths = [known - len(input.columns) + 1] + [1] * (len(input.columns) - 1)
    return {column: np.full((count, w), np.nan) for column, w in zip(input.columns, widths, strict=False)}
