"""The largest batch is tried before the first step, so that memory runs out in the first second, not in hour three."""

from __future__ import annotations

import numpy as np

from seqloom.batch import Encoded, cut
from seqloom.errors import SeqloomError
from seqloom.model import SequenceModel
from seqloom.outputs.output import Places
from seqloom.recipe import TrainingSettings


def try_worst_batch(model: SequenceModel, encoded: Encoded, places: Places, settings: TrainingSettings) -> None:
    """Forward and backward on the longest rows; gradients are thrown away.

    Raises:
        SeqloomError: there is not enough memory; says for how many steps, and what to change.
    """
    lengths = places.stop - places.start
    rows = np.argsort(-lengths, kind="stable")[: settings.batch_size]
    longest = int(lengths[rows].max(initial=0))
    try:
        batch = cut(encoded, places.take(rows), model.inputs, model.outputs)
        model.train()
        model.loss(model(batch), batch).backward()  # type: ignore[no-untyped-call]
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "alloc" not in str(error) and "memory" not in str(error):
            raise
        raise SeqloomError(
            f"the longest batch ({len(rows)} rows of {longest} steps) does not fit into memory: {error}. "
            "Next: lower training.batch_size (with training.accumulate the step stays the same), "
            "data.context_length or core.hidden_size"
        ) from None
    finally:
        model.zero_grad(set_to_none=True)
