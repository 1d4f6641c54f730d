"""The largest batch is tried before the first step, so that memory runs out in the first second, not in hour three."""

from __future__ import annotations

from seqloom.errors import SeqloomError
from seqloom.training.lessons import Lessons


def try_worst_batch(lessons: Lessons) -> None:
    """Forward and backward on the longest rows; gradients are thrown away.

    Raises:
        SeqloomError: there is not enough memory; says what to change.
    """
    lessons.model.train()
    try:
        lessons.rehearse()
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "alloc" not in str(error) and "memory" not in str(error):
            raise
        raise SeqloomError(
            f"the longest batch ({lessons.largest}) does not fit into memory: {error}. "
            "Next: lower training.batch_size (with training.accumulate the step stays the same), "
            "data.context_length or core.hidden_size"
        ) from None
    finally:
        lessons.model.zero_grad(set_to_none=True)
