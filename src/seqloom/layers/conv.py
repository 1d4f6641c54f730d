"""`Conv`: a 1-D convolution over `Sequences` that may shorten them, exact on every row and in any chunks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from seqloom.sequences import Sequences
from seqloom.settings import Settings


class ConvSettings(Settings):
    """One convolution of the front end."""

    channels: int = Field(ge=1, le=65536, description="features of each step that it gives")
    kernel_size: int = Field(ge=1, le=65536, description="steps that each answer reads, `dilation` apart")
    stride: int = Field(1, ge=1, le=65536, description="steps that become one: the sequence is so many times shorter")
    dilation: int = Field(1, ge=1, le=65536, description="distance between the steps that are read")
    causal: bool = Field(True, description="read no later step; false: look ahead and back alike, and no streams")
    layer_norm: bool = Field(False, description="normalise the channels of each step before the ReLU")
    residual: bool = Field(False, description="add the first of the steps that become one to what is made of them")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the channels of each step dropped")

    @model_validator(mode="after")
    def _has_effect(self) -> ConvSettings:
        if self.dilation > 1 and self.kernel_size == 1:
            raise ValueError(f"dilation {self.dilation} has no effect on a kernel of one step; leave it out")
        read = {k * self.dilation % self.stride for k in range(self.kernel_size)}
        if len(read) < self.stride:
            raise ValueError(
                f"kernel_size {self.kernel_size}, stride {self.stride} and dilation {self.dilation} read {len(read)} "
                f"of every {self.stride} steps, the others never; expected a stride of at most kernel_size, without a "
                "factor in common with dilation"
            )
        if not self.causal and self.context == 0:
            raise ValueError(
                f"causal: false has no effect, since a kernel of {self.kernel_size} steps at stride {self.stride} "
                "reads only the steps that become one; leave it out, or take a longer kernel"
            )
        return self

    @property
    def context(self) -> int:
        """Steps read besides those that become one."""
        return (self.kernel_size - 1) * self.dilation - (self.stride - 1)


class ConvState(NamedTuple):
    """recent: the last (K-1) d steps read, zeros before the first, (B, (K-1) d, F). wait: steps to come before the
    one that completes the next answer, (B,) int64."""

    recent: Tensor
    wait: Tensor


class Conv(nn.Module):
    """K taps, d steps apart, one answer for each s steps: a kernel, a ReLU, perhaps a shortcut.

        y_j = dropout(relu(norm(b + sum_k W_k x[j s + a - (K-1-k) d]))) + shortcut(x[j s])

    Answer j stands for the steps j s to j s + s - 1. Causal, it reads up to the last of them, a = s - 1. Centred,
    the (K-1) d - (s-1) further steps lie half before and half behind, the odd one behind, as in torch's
    `padding="same"`. Before the first and after the last step of a row there are zeros.

    L steps give ceil(L / s) answers: none for an empty row, one for a row shorter than the kernel. In a stream the
    answer comes `delay` = a steps after the first step it stands for.

    Shapes: `conv.weight` (C, F, K), `conv.bias` (C,). The shortcut is the step itself where F = C, else a
    linear map of it.

    Source: dilated causal convolutions, van den Oord et al., WaveNet, arXiv:1609.03499, section 2.1; the shortcut,
    He et al., Deep residual learning, arXiv:1512.03385, equations 1 and 2.

    Args:
        input_size: features F of the input.
        channels: features C of the output.
        kernel_size: taps K.
        stride: steps s that become one.
        dilation: distance d of the taps.
        causal: read no step behind those that become one.
        layer_norm: normalise each step's channels before the ReLU.
        residual: add the shortcut.
        dropout: share of channels dropped, 0 <= dropout < 1.
    """

    def __init__(
        self,
        input_size: int,
        channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        causal: bool = True,
        layer_norm: bool = False,
        residual: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.input_size, self.output_size, self.stride = input_size, channels, stride
        self.span = (kernel_size - 1) * dilation  # steps before the last one that a tap reads
        context = self.span - (stride - 1)
        self.lookahead = 0 if causal else context - context // 2
        self.delay = stride - 1 + self.lookahead
        self.conv = nn.Conv1d(input_size, channels, kernel_size, stride, dilation=dilation)
        self.finish = nn.Sequential(
            nn.LayerNorm(channels) if layer_norm else nn.Identity(), nn.ReLU(), nn.Dropout(dropout)
        )
        self.shortcut: nn.Module | None = None
        if residual:
            same = input_size == channels
            self.shortcut = nn.Identity() if same else nn.Linear(input_size, channels, bias=False)

    def initial_state(self, batch_size: int) -> ConvState:
        """Zeros before the first step."""
        weight = self.conv.weight
        recent = weight.new_zeros(batch_size, self.span, self.input_size)
        return ConvState(recent, torch.full((batch_size,), self.delay, device=weight.device))

    def forward(
        self, input: Sequences, state: ConvState | None = None, *, final: bool = True
    ) -> tuple[Sequences, ConvState]:
        """Answers (B, ceil(T / s), C), zero on padding, and the state after each row's last valid step.

        Args:
            input: (B, T, F) the steps, or the next chunk of them.
            state: after the chunk before; omitted: at the beginning.
            final: nothing follows, so answers that wait for later steps are given with zeros in their place. In
                a stream it is True for the last chunk alone, which may be empty.
        """
        B, T, F = input.values.shape
        state = self.initial_state(B) if state is None else state
        after = self.delay if final else 0
        values = input.zero_padding().values
        steps = torch.cat([state.recent, values, values.new_zeros(B, after, F)], dim=1)
        read = input.lengths.to(steps.device) + after
        lengths = self._answers(read - state.wait)
        most = int(self._answers(T + after - state.wait).max()) if B else 0
        made = Sequences(self._convolve(steps, state.wait, most), lengths.to(input.lengths.device))
        recent = _stretch(steps, read, self.span).clone()  # a view would keep the whole chunk
        return made.zero_padding(), ConvState(recent, state.wait + lengths * self.stride - read)

    def _answers(self, steps: Tensor) -> Tensor:
        """(B,) answers that so many steps complete, of which the first completes one."""
        return ((steps + self.stride - 1) // self.stride).clamp(min=0)

    def _convolve(self, steps: Tensor, first: Tensor, most: int) -> Tensor:
        """(B, most, C): the answers whose taps begin at `first` (B,), and every stride after it."""
        if most == 0:
            return steps.new_zeros(len(steps), 0, self.output_size)
        reach = (most - 1) * self.stride
        read = _stretch(steps, first, reach + self.span + 1)
        made: Tensor = self.finish(self.conv(read.transpose(1, 2)).transpose(1, 2))
        if self.shortcut is None:
            return made
        begin = self.span - self.delay
        shown: Tensor = self.shortcut(read[:, begin : begin + reach + 1 : self.stride])
        return made + shown


def _stretch(steps: Tensor, start: Tensor, size: int) -> Tensor:
    """(B, size, F): so many steps of each row from its own start (B,); rows that end earlier repeat their last."""
    first = int(start[0]) if len(start) else 0
    if bool((start == first).all()) and first + size <= steps.shape[1]:
        return steps[:, first : first + size]
    index = start.unsqueeze(1) + torch.arange(size, device=steps.device)
    return steps[torch.arange(len(steps), device=steps.device).unsqueeze(1), index.clamp(max=steps.shape[1] - 1)]
