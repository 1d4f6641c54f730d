"""What a model looked at while it wrote: the attention of a few texts over the steps that were read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from seqloom.batch import Encoded, cut
from seqloom.data.segments import Segments
from seqloom.model import SequenceModel
from seqloom.outputs.output import Array, Places
from seqloom.outputs.text import Text, Written
from seqloom.shown import shown_inputs

EXAMPLES = 10  # of each output, evenly spread
STEPS = 120  # the last so many of an example
DIGITS = 4


@torch.no_grad()
def attention_maps(
    model: SequenceModel, segments: Segments, encoded: Encoded, places: Places, answers: Mapping[str, Array]
) -> dict[str, Any]:
    """The content of `attention.json`: by output that writes, examples with what was read, written and looked at.

    Args:
        model: built.
        segments: the table.
        encoded: the same, as the model reads it.
        places: what was answered.
        answers: by output, one row for each place.

    Returns:
        `outputs`: by name, examples with `id`, `inputs`, `first` (number of the first step that is shown), `tokens`
        of the best text, its `score`, and `weights` (tokens, steps); `steps_per_core_step`: steps of the inputs that
        one column of the weights stands for. Empty where no output writes.
    """
    writing = [name for name, output in model.outputs.items() if isinstance(output, Text)]
    chosen = spread(len(places.segment), EXAMPLES)
    ids = [str(segments.ids[k]) for k in places.segment[chosen]]
    found = {
        name: [
            {"id": id, **_example(model, encoded, places.take(slice(row, row + 1)), answers[name][row, 1])}
            for id, row in zip(ids, chosen, strict=True)
        ]
        for name in writing
    }
    return {"steps_per_core_step": model.front.factor, "outputs": found} if writing else {}


def spread(count: int, most: int) -> list[int]:
    """At most so many of `count` numbers, evenly spread, the first and the last among them."""
    chosen: list[int] = np.linspace(0, count - 1, min(count, most)).round().astype(np.int64).tolist()
    return chosen


def _example(model: SequenceModel, encoded: Encoded, place: Places, best: Written) -> dict[str, Any]:
    batch = cut(encoded, place, model.inputs, {})
    last = -(-int(batch.lengths[0]) // model.front.factor)
    first = max(last - STEPS, 0)
    return {
        "inputs": shown_inputs(model, batch, 0, STEPS),
        "first": first + 1,
        "tokens": list(best.tokens),
        "score": best.score,
        "weights": best.attention[:, first:last].round(DIGITS).tolist(),
    }
