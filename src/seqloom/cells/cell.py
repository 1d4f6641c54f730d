"""`Cell`: what every recurrence provides. A new cell is a new file in this folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class Cell(nn.Module, ABC):
    """The rule for one step: `output, state = cell.step(projected, state)`.

    State is a named tuple of tensors whose first dimension is the batch. It is made by `initial_state`,
    passed in and returned, and never kept on the module.

    Attributes:
        equations: the step as Python expressions in the letters of the code, in order. `x` is the step's
            input and `dt` its elapsed time where a cell reads that, `W_i @ x` a product with a weight; a name ending
            in `_next` is the new state; `u.i` is the part of gate i in a vector u of all gates. Functions are those
            of torch, `max` of two values, and `norm`, which makes mean 0 and deviation 1. They are drawn by `seqloom
            explain cell`, and a test evaluates them against `step`.
        output: the name in `equations` that the cell returns at each step.
        source: the paper, with the equation where it numbers them.
        fused: the function of `torch` that computes this very recurrence for whole sequences, if any.
        reads_elapsed: whether the first feature of the input is the time since the step before.
        bookkeeping: fields of the state that count or scale, so that learning where they begin makes no sense.
    """

    equations: ClassVar[tuple[str, ...]]
    output: ClassVar[str] = "h_next"
    source: ClassVar[str]
    fused: ClassVar[str | None] = None
    reads_elapsed: ClassVar[bool] = False
    bookkeeping: ClassVar[tuple[str, ...]] = ()

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size

    @property
    def title(self) -> str:
        """What to call it in messages."""
        return type(self).__name__

    @property
    def bare(self) -> Cell:
        """The cell without what was put around it."""
        return self

    @property
    def output_size(self) -> int:
        """Features of each step's output."""
        return self.hidden_size

    @abstractmethod
    def initial_state(self, batch_size: int) -> Any:
        """The state before the first step, a named tuple of (B, ...) tensors."""

    def project(self, input: Tensor) -> Tensor:
        """What does not depend on the past, for all steps at once: (B, T, I) to (B, T, G)."""
        return input

    @abstractmethod
    def step(self, projected: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step: (B, G) and the state to the output (B, H) and the new state."""

    def bare_state(self, state: Any) -> Any:
        """The part of a state that belongs to the bare cell."""
        return state

    @property
    def stepper(self) -> Cell:
        """The cell whose steps and states these are: what differs in its beginning only is none."""
        return self

    def lower(self, state: Any) -> tuple[Cell, Any]:
        """The cell that kernels run, and its state: without what changes no step."""
        return self, state

    def lift(self, state: Any, final: Any) -> Any:
        """The state after steps that began at `state`, from the `final` one of the lowered cell."""
        return final

    def blend(self, old: Any, new: Any, share: Any) -> Any:
        """The state between two: of each field `share` of the old, 0..1 for each unit, and the rest of the new.

        `bookkeeping` and whole numbers are the new ones. Where that is no mean of what the fields stand for, a cell
        says better.
        """
        kept = {
            name: torch.lerp(fresh, before, part)
            for name, before, fresh, part in zip(new._fields, old, new, share, strict=True)
            if fresh.is_floating_point() and name not in self.bookkeeping
        }
        return new._replace(**kept)

    def signals(self, input: Tensor) -> dict[str, Tensor]:
        """The input (..., I) under the names that `equations` use."""
        return {"x": input}

    def symbols(self) -> dict[str, Tensor]:
        """The weights under the names that `equations` use."""
        return {}


class GatedCell(Cell):
    """A cell with torch's weights: G stacked gates, each `W_i x + b_i + W_h h + b_h`.

    Shapes: `weight_ih` (G*H, I), `weight_hh` (G*H, H), `bias_ih` and `bias_hh` (G*H,), as in `torch.nn`.

    Attributes:
        gates: the letters of the gates in the order in which they are stacked.
    """

    gates: ClassVar[tuple[str, ...]]

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        rows = len(self.gates) * hidden_size
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hh = nn.Parameter(torch.empty(rows, hidden_size))
        self.bias_ih = nn.Parameter(torch.empty(rows))
        self.bias_hh = nn.Parameter(torch.empty(rows))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in ±1/sqrt(H), as in `torch.nn`."""
        bound = self.hidden_size**-0.5 if self.hidden_size else 0.0
        for weight in self.parameters():
            nn.init.uniform_(weight, -bound, bound)

    def project(self, input: Tensor) -> Tensor:
        """`W_i x + b_i` of all gates, (B, T, I) to (B, T, G*H)."""
        return nn.functional.linear(input, self.weight_ih, self.bias_ih)

    def recur(self, h: Tensor) -> Tensor:
        """`W_h h + b_h` of all gates, (B, H) to (B, G*H)."""
        return nn.functional.linear(h, self.weight_hh, self.bias_hh)

    def symbols(self) -> dict[str, Tensor]:
        """`W_ii`, `W_hi`, `b_ii`, `b_hi` and so on: one slice for each gate."""
        named = {"W_i": self.weight_ih, "W_h": self.weight_hh, "b_i": self.bias_ih, "b_h": self.bias_hh}
        return self.by_gate(named)

    def by_gate(self, stacked: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each gate's slice of each of some stacked weights, under name and letter."""
        return {
            f"{name}{gate}": part
            for name, weight in stacked.items()
            for gate, part in zip(self.gates, weight.chunk(len(self.gates)), strict=True)
        }


class LinearCell(Cell):
    """A cell whose only memory is linear in its former self: `m' = a * m + b`, with a and b known from the input.

    So all steps can be computed together (`seqloom.kernels.scan`): two of them are one step of the same form,
    `m'' = (a2 a1) * m + (a2 b1 + b2)`. The state is a named tuple of that one memory, (B, H).
    """

    @abstractmethod
    def coefficients(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """a and b of some steps, each (..., H), from (..., G)."""

    def readout(self, projected: Tensor, memory: Tensor) -> Tensor:
        """The outputs (..., H) of some steps, from (..., G) and their new memory (..., H)."""
        return memory

    def step(self, projected: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step: projected (B, G) to the output (B, H) and the new state."""
        a, b = self.coefficients(projected)
        memory = a * state[0] + b
        return self.readout(projected, memory), type(state)(memory)
