"""The mean of the weights at several validations of one run, a candidate for the weights that are kept.

The last checkpoints are averaged by Vaswani et al. (2017), section 6.1; saved models of one run by Junczys-Dowmunt,
Dwojak and Sennrich (WMT 2016). Why it helps: Izmailov et al., Averaging Weights Leads to Wider Optima (UAI 2018).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from seqloom.saving import JSON

Weights = dict[str, Tensor]


class Mean(NamedTuple):
    """A mean of weights: of `steps`, the `kind` (best or last) of their validations."""

    kind: str
    steps: list[int]
    weights: Weights


class CheckpointMean:
    """Keeps the weights of the best and of the last validations.

    It takes memory, and room in every checkpoint, for as many copies of the weights as it keeps.

    Args:
        best: how many of the smallest losses; None for none.
        last: how many of the newest; None for none.
    """

    def __init__(self, best: int | None, last: int | None) -> None:
        self.best = best
        self.last = last
        self._losses: dict[int, float] = {}
        self._weights: dict[int, Weights] = {}

    @property
    def wanted(self) -> bool:
        """Whether anything is to be kept."""
        return bool(self.best or self.last)

    def take(self, step: int, loss: float, weights: Mapping[str, Tensor]) -> None:
        """A validation of these weights; what is then among neither the best nor the last is dropped."""
        if not self.wanted:
            return
        self._losses[step] = loss
        self._weights[step] = {name: weight.detach().clone() for name, weight in weights.items()}
        for old in set(self._losses) - {step for _, steps in self._chosen() for step in steps}:
            del self._losses[old], self._weights[old]

    def means(self) -> Iterator[Mean]:
        """The means of what is kept, where that is two validations or more."""
        for kind, steps in self._chosen():
            if len(steps) > 1:
                yield Mean(kind, steps, _mean([self._weights[step] for step in steps]))

    def _chosen(self) -> list[tuple[str, list[int]]]:
        """The steps of each kind, in the order of time; of equal losses the earlier counts as better."""
        by_loss = sorted(self._losses, key=lambda step: (self._losses[step], step))
        kinds = {"best": by_loss[: self.best or 0], "last": sorted(self._losses)[-self.last :] if self.last else []}
        return [(kind, sorted(steps)) for kind, steps in kinds.items()]

    def tensors(self) -> dict[str, Tensor]:
        """Everything that is kept, by step and name."""
        return {f"{step}/{name}": weight for step, found in self._weights.items() for name, weight in found.items()}

    def document(self) -> JSON:
        """The losses, exactly."""
        return {str(step): loss.hex() for step, loss in self._losses.items()}

    def restore(self, tensors: Mapping[str, Tensor], document: Mapping[str, str]) -> None:
        """Take back what `tensors` and `document` gave."""
        self._losses = {int(step): float.fromhex(loss) for step, loss in document.items()}
        self._weights = {step: {} for step in self._losses}
        for key, weight in tensors.items():
            step, _, name = key.partition("/")
            self._weights[int(step)][name] = weight


def _mean(several: list[Weights]) -> Weights:
    """Summed in float64, so that the order does not matter; what is no number with a point is the newest one's."""
    return {
        name: torch.stack([weights[name].double() for weights in several]).mean(dim=0).to(newest.dtype)
        if newest.is_floating_point()
        else newest.clone()
        for name, newest in several[-1].items()
    }
