"""When the loss stops being a number: find the first tensor that did, and say what to change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from seqloom.batch import Batch
from seqloom.errors import NonFiniteError
from seqloom.model import SequenceModel

Read = tuple[Batch, Any]  # what is read, and the state before it

ADVICE = "lower training.lr or training.max_norm, raise training.warmup_steps, and look for extreme values in the data"


def stop_non_finite(model: SequenceModel, reads: Iterable[Read], step: int, loss: float) -> None:
    """Raise, naming the step and the first bad tensor.

    Raises:
        NonFiniteError: always.
    """
    raise NonFiniteError(
        f"step {step}: the loss is {loss}; the first tensor that is not finite is {first_bad(model, reads)}. "
        f"No checkpoint was written at this step. Next: {ADVICE}"
    )


def first_bad(model: SequenceModel, reads: Iterable[Read]) -> str:
    """The first bad one of weights, inputs, module outputs and gradients, in the order of computation."""
    for name, weight in model.named_parameters():
        if not _finite(weight):
            return f"weight {name}"
    for batch, state in reads:
        for name, values in batch.inputs.items():
            if values.isinf().any():
                return f"input {name}"
        found = _bad_output(model, batch, state)
        if found:
            return f"the output of {found}"
    for name, weight in model.named_parameters():
        if weight.grad is not None and not _finite(weight.grad):
            return f"the gradient of {name}"
    return "the loss itself"


def _bad_output(model: SequenceModel, batch: Batch, state: Any) -> str | None:
    found: list[str] = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and not _finite(output):
                found.append(name)

        return hook

    hooks = [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    try:
        with torch.no_grad():
            model.decode(model.read(batch, state)[0])
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else None


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
