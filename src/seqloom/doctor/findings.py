"""`Findings`: all that was measured, and nothing that was concluded from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seqloom.doctor.course import Course
from seqloom.doctor.gradient import Curve
from seqloom.doctor.reach import Reach


@dataclass(frozen=True)
class Layer:
    """What was measured of one cell.

    Attributes:
        name: `layer 1`, `layer 1 backward`.
        gradient: norm of the gradient with respect to its state, at lag 1, 2, ..., over that at lag 1.
        growth: mean factor of a gradient's norm for each step back.
        saturated: by gate, share of steps and units where it is flat; empty for a cell without equations.
        dead: share of units whose output hardly varies.
        memory: steps that its longest units remember, by their gates; None where no gate keeps a state.
    """

    name: str
    gradient: Curve
    growth: float
    saturated: Mapping[str, float]
    dead: float
    memory: float | None

    def left(self, lag: int) -> float:
        """Gradient at a lag, or at the longest there is, over that at lag 1."""
        return float(self.gradient[min(lag, len(self.gradient)) - 1]) if len(self.gradient) else float("nan")

    @property
    def saturation(self) -> float:
        """Mean over the gates."""
        return sum(self.saturated.values()) / len(self.saturated) if self.saturated else 0.0


@dataclass(frozen=True)
class Findings:
    """What was measured of a model, its data and its training.

    Attributes:
        layers: by cell.
        reach: the lags that matter in the data, in steps of the inputs.
        factor: input steps that one step of the core stands for.
        course: of training; None where no log was kept.
        moved: by part of the model, the distance of its weights from where they began, over their size then.
        first_size: typical (root mean square) weight of the core at the beginning.
    """

    layers: tuple[Layer, ...]
    reach: Reach
    factor: int
    course: Course | None
    moved: Mapping[str, float]
    first_size: float

    @property
    def lag(self) -> int | None:
        """The lag within which what matters lies, in steps of the core."""
        return None if self.reach.steps is None else math.ceil(self.reach.steps / self.factor)

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is no number is None."""
        return {
            "layers": [_layer(layer) for layer in self.layers],
            "reach": {
                "steps": self.reach.steps,
                "explained": {str(lag): share for lag, share in self.reach.explained.items()},
                "reason": self.reach.reason,
            },
            "steps_per_core_step": self.factor,
            "course": None if self.course is None else vars(self.course) | {"updates": dict(self.course.updates)},
            "moved": dict(self.moved),
            "first_size": self.first_size,
        }


def _layer(layer: Layer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "gradient_by_lag": [_finite(value) for value in layer.gradient.tolist()],
        "jacobian_growth": _finite(layer.growth),
        "saturated": dict(layer.saturated),
        "dead": layer.dead,
        "memory_steps": layer.memory,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
