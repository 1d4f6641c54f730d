"""One step of one live sequence on one thread: `seqloom.layers.live.Live` against torch's layers and ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import nn

from seqloom.bench.onnx_runtime import OnnxLayer, why_not
from seqloom.bench.pair import KINDS
from seqloom.bench.row import Goal, Row, absent, timed
from seqloom.bench.setting import Setting
from seqloom.bench.threads import torch_threads
from seqloom.bench.timing import Call, interleaved
from seqloom.cells.cell import Cell
from seqloom.errors import KernelError
from seqloom.layers.live import Live, rounding
from seqloom.layers.recurrent import Recurrent
from seqloom.lookup import find

SIZES = ((64, 64), (64, 128), (64, 256), (128, 512), (256, 1024))
TINY = ((3, 8),)
AGAINST_TORCH, AGAINST_ONNX, INT8 = Goal(15, 40), Goal(2.5, 5), Goal(5, 10)
MOST_PROMISED = 256  # hidden units
_CELLS: dict[str, Callable[..., nn.RNNCellBase]] = {"lstm": nn.LSTMCell, "gru": nn.GRUCell}


def rows(setting: Setting) -> Iterator[Row]:
    """A row for each size and rival."""
    with torch_threads(1):
        for kind in KINDS:
            for size in TINY if setting.tiny else SIZES:
                yield from Case(kind, size, setting).rows()


class Case:
    """One layer that reads one live sequence."""

    def __init__(self, kind: str, size: tuple[int, int], setting: Setting) -> None:
        I, H = size  # noqa: E741
        torch.manual_seed(0)
        self.kind, self.setting = kind, setting
        self.sizes = {"B": 1, "T": 1, "I": I, "H": H}
        self.layer = KINDS[kind](I, H, batch_first=True).eval()
        self.stack = Recurrent(find("cells", kind, Cell), I, H)
        self.live = Live(_with_weights(self.stack, self.layer))
        native = self.live.stepper.backends == ["native"]
        self.small = Live(self.stack, backend="int8") if native else None
        self.x = np.random.default_rng(0).normal(size=I).astype(np.float32)

    def rows(self) -> Iterator[Row]:
        """Each rival, with the promise to it."""
        self._require_equal()
        title = self.kind.upper()
        contenders: dict[str, Call] = {
            "ours": lambda: self.live.step(self.x),
            f"nn.{title}": self._layer(),
            f"nn.{title}Cell": self._cell(),
        }
        reason = why_not()
        if reason is None:
            contenders["ONNX Runtime"] = self._onnx()
        if self.small is not None:
            contenders["int8"] = partial(self.small.step, self.x)
        found = interleaved(contenders, self.setting.effort)
        ours, small = found.pop("ours"), found.pop("int8", None)
        goals = {"nn.LSTM": AGAINST_TORCH, "ONNX Runtime": AGAINST_ONNX} if self._is_promised() else {}
        for rival, theirs in found.items():
            yield timed(f"{title} step", rival, self.sizes, ours, theirs, goal=goals.get(rival), **self._more(ours))
        if reason is not None:
            yield absent(f"{title} step", "ONNX Runtime", self.sizes, reason, goal=goals.get("ONNX Runtime"))
        yield self._rounded(small, found.get("ONNX Runtime"), reason)

    def _rounded(self, small: float | None, theirs: float | None, reason: str | None) -> Row:
        """Weights in eight bits against ONNX Runtime's in float32, with what that does to the answers."""
        name, goal = f"{self.kind.upper()} step, int8", INT8 if self._is_promised() else None
        if small is None or theirs is None:
            missing = reason or "live sequences keep weights in int8 only where the native kernels are compiled"
            return absent(name, "ONNX Runtime", self.sizes, missing, goal=goal)
        steps = np.random.default_rng(1).normal(size=(200, len(self.x))).astype(np.float32)
        off = rounding(self.stack, steps, "int8").share
        note = f"answers are {off:.2%} of their own size away from those with float32 weights"
        return timed(name, "ONNX Runtime", self.sizes, small, theirs, goal=goal, kernel="int8", note=note)

    def _is_promised(self) -> bool:
        return self.kind == "lstm" and self.sizes["H"] <= MOST_PROMISED

    def _more(self, seconds: float) -> dict[str, object]:
        """A single step reads each weight once and uses it once, so reads are its limit."""
        weights = sum(weight.numel() for weight in self.stack.parameters() if weight.ndim == 2)
        level = self.setting.limits.level(4 * weights)
        return {
            "gflops": 2 * weights / seconds / 1e9,
            "share": 4 * weights / seconds / 1e9 / level.one,
            "limit": f"{level.level} reads",
            "kernel": self.live.stepper.backends[0],
        }

    def _layer(self) -> Call:
        x, state = torch.from_numpy(self.x).view(1, 1, -1), None

        @torch.inference_mode()
        def call() -> None:
            nonlocal state
            _, state = self.layer(x, state)

        return call

    def _cell(self) -> Call:
        cell = _CELLS[self.kind](self.layer.input_size, self.layer.hidden_size)
        x, state = torch.from_numpy(self.x).view(1, -1), None

        @torch.inference_mode()
        def call() -> None:
            nonlocal state
            state = cell(x, state)

        return call

    def _onnx(self) -> Call:
        layer = OnnxLayer(self.layer, 1)
        x, state = self.x.reshape(1, 1, -1), layer.initial(1)

        def call() -> None:
            nonlocal state
            _, state = layer(x, state)

        return call

    def _require_equal(self) -> None:
        """Three steps of ours and torch's.

        Raises:
            KernelError: they differ.
        """
        with torch.inference_mode():
            whole = self.layer(torch.from_numpy(self.x).expand(1, 3, -1).contiguous())[0][0].numpy()
        off = float(np.abs(np.stack([self.live.step(self.x) for _ in range(3)]) - whole).max())
        if not off <= 1e-4:
            raise KernelError(f"live steps of {self.kind} are {off:.3g} away from torch's: please report it")


def _with_weights(stack: Recurrent, layer: nn.RNNBase) -> Recurrent:
    """The stack with torch's weights."""
    cell = stack.cells()[0][0]
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        cell.get_parameter(name).data.copy_(layer.get_parameter(f"{name}_l0").data)
    return stack
