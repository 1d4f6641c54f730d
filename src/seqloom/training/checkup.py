"""`Checkup`: whoever examines the model between two steps, such as the gradient doctor, and leaves it as it was."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol


class Visit(NamedTuple):
    """What was found.

    Attributes:
        diagnoses: plain values, for the log; none of a healthy model.
        news: what no visit before has said, for people; empty where there is none.
    """

    diagnoses: list[dict[str, Any]]
    news: str


class Checkup(Protocol):
    """Is called every `training.doctor_every` steps, and after the last one."""

    def visit(self, step: int) -> Visit:
        """Look at the model after so many steps."""
