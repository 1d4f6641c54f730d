"""`Front`: convolutions on top of each other, between the joined inputs and the recurrent core."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from seqloom.layers.conv import Conv, ConvSettings, ConvState
from seqloom.sequences import Sequences

FrontState = tuple[ConvState, ...]


class Front(nn.Module):
    """Convolutions that shorten a sequence before the core reads it; without any, the sequence passes as it is.

    State is a tuple with one `ConvState` for each convolution.

    Args:
        input_size: features F of the input.
        layers: the convolutions, first to last.
    """

    def __init__(self, input_size: int, layers: Sequence[ConvSettings]) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for settings in layers:
            self.layers.append(Conv(input_size, **settings.model_dump()))
            input_size = settings.channels
        self.output_size = input_size

    def convs(self) -> list[Conv]:
        """The convolutions, first to last."""
        return [cast(Conv, layer) for layer in self.layers]

    def factors(self) -> list[int]:
        """Input steps that one step stands for, before each convolution and behind the last."""
        strides = [layer.stride for layer in self.convs()]
        return [math.prod(strides[:depth]) for depth in range(len(strides) + 1)]

    @property
    def factor(self) -> int:
        """How many times shorter the sequence becomes: the product of the strides."""
        return self.factors()[-1]

    def receptive_fields(self) -> list[int]:
        """Input steps that one answer of each convolution reads: 1 + sum of each span times the factor before it."""
        spans = [layer.span * factor for layer, factor in zip(self.convs(), self.factors(), strict=False)]
        return [1 + sum(spans[: depth + 1]) for depth in range(len(spans))]

    @property
    def receptive_field(self) -> int:
        """Input steps that one answer reads; 1 without any convolution."""
        return max(self.receptive_fields(), default=1)

    @property
    def delay(self) -> int:
        """Input steps after the first one that an answer stands for, until it comes in a stream."""
        return self._in_input_steps([layer.delay for layer in self.convs()])

    @property
    def lookahead(self) -> int:
        """Input steps read behind the last one that an answer stands for; 0 where all are causal."""
        return self._in_input_steps([layer.lookahead for layer in self.convs()])

    def _in_input_steps(self, steps: list[int]) -> int:
        return sum(count * factor for count, factor in zip(steps, self.factors(), strict=False))

    def lengths(self, lengths: Tensor) -> Tensor:
        """(B,) answers of rows of so many steps: ceil(L / s) after each convolution, ceil(L / factor) in all."""
        return (lengths + self.factor - 1) // self.factor

    def initial_state(self, batch_size: int) -> FrontState:
        """The state of every convolution before the first step."""
        return tuple(layer.initial_state(batch_size) for layer in self.convs())

    def forward(
        self, input: Sequences, state: FrontState | None = None, *, final: bool = True
    ) -> tuple[Sequences, FrontState]:
        """Answers (B, ceil(T / factor), C) and the state; `final` as for `Conv`."""
        if state is None:
            state = self.initial_state(len(input.lengths))
        after = []
        for layer, layer_state in zip(self.convs(), state, strict=True):
            input, layer_after = layer(input, layer_state, final=final)
            after.append(layer_after)
        return input, tuple(after)
