"""Whole layers on full batches: LSTM and GRU against torch's own and ONNX Runtime."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import torch

from seqloom.bench.onnx_runtime import OnnxLayer, why_not
from seqloom.bench.pair import KINDS, Pair, flops, forward, require_equal, train
from seqloom.bench.row import Goal, Row, absent, timed
from seqloom.bench.setting import Setting
from seqloom.bench.threads import torch_threads
from seqloom.bench.timing import Call, interleaved
from seqloom.kernels import choose
from seqloom.sequences import Sequences

SIZES = (
    (32, 100, 128, 128),
    (64, 100, 256, 256),
    (32, 200, 512, 512),
    (32, 500, 64, 256),
    (128, 50, 64, 64),
    (1, 1000, 128, 256),
)
TINY = ((2, 5, 3, 8), (1, 7, 4, 6))
GOALS = {
    ("lstm", "forward"): Goal(0.95, 1.15),
    ("lstm", "train"): Goal(1.0, 2.0),
    ("gru", "forward"): Goal(2.2, 4.0),
    ("gru", "train"): Goal(3.0, 5.0),
}
ALL_LSTM = Goal(1.2, 2.0)
SHARE = Goal(0.65, 0.80)


def rows(setting: Setting) -> Iterator[Row]:
    """Forward and training of each size, then what the sizes say together."""
    trained: dict[str, list[Row]] = {kind: [] for kind in KINDS}
    with torch_threads(setting.threads):
        for kind in KINDS:
            for size in TINY if setting.tiny else SIZES:
                case = Case(kind, size, setting)
                yield from case.forward()
                row = case.train()
                trained[kind].append(row)
                yield row
    ratios = [row.ratio for row in trained["lstm"] if row.ratio is not None]
    together = statistics.geometric_mean(ratios)
    yield Row("LSTM train, geometric mean of all sizes", "nn.LSTM", ratio=together, goal=ALL_LSTM)
    for row in [*trained["lstm"], *trained["gru"]]:
        yield from _share(row, setting)


class Case:
    """One layer on one full batch."""

    def __init__(self, kind: str, size: tuple[int, int, int, int], setting: Setting) -> None:
        B, T, I, H = size  # noqa: E741
        torch.manual_seed(0)
        self.kind, self.setting = kind, setting
        self.sizes = {"B": B, "T": T, "I": I, "H": H}
        self.pair = Pair(kind, I, H)
        self.batch = Sequences.full(torch.randn(B, T, I))
        self.gradient = torch.randn(B, T, H)
        self.kernel = choose(self.pair.cell, self.batch).name

    def forward(self) -> Iterator[Row]:
        """Inference against torch and ONNX Runtime."""
        self.pair.cell.eval()  # the way of single steps; training may multiply otherwise
        contenders = {"ours": forward(self.pair.ours, self.batch), "torch": forward(self.pair.padded, self.batch)}
        require_equal(*contenders.values())
        reason = why_not()
        if reason is None:
            contenders["onnx"] = self._onnx()
        found = interleaved(contenders, self.setting.effort)
        goal = None if self.kind == "gru" and self.sizes["B"] < 32 else GOALS[self.kind, "forward"]
        name, more = f"{self.kind.upper()} forward", self._more(found["ours"], training=False)
        yield timed(name, f"nn.{self.kind.upper()}", self.sizes, found["ours"], found["torch"], goal=goal, **more)
        if reason is None:
            yield timed(name, "ONNX Runtime", self.sizes, found["ours"], found["onnx"], **more)
        else:
            yield absent(name, "ONNX Runtime", self.sizes, reason)

    def train(self) -> Row:
        """Forward and back, to the gradients of inputs and weights, against torch."""
        self.pair.cell.train()
        contenders = {
            "ours": train(self.pair.ours, list(self.pair.cell.parameters()), self.batch, self.gradient),
            "torch": train(self.pair.padded, list(self.pair.layer.parameters()), self.batch, self.gradient),
        }
        require_equal(*contenders.values())
        found = interleaved(contenders, self.setting.effort)
        return timed(
            f"{self.kind.upper()} train",
            f"nn.{self.kind.upper()}",
            self.sizes,
            found["ours"],
            found["torch"],
            goal=GOALS[self.kind, "train"],
            **self._more(found["ours"], training=True),
        )

    def _onnx(self) -> Call:
        layer = OnnxLayer(self.pair.layer, self.setting.threads)
        x, state = self.batch.values.transpose(0, 1).contiguous().numpy(), layer.initial(self.sizes["B"])
        return lambda: layer(x, state)

    def _more(self, seconds: float, *, training: bool) -> dict[str, object]:
        rate = flops(self.pair.cell, self.sizes["B"] * self.sizes["T"], train=training) / seconds / 1e9
        peak = self.setting.limits.peak(self.setting.threads)
        return {"gflops": rate, "share": rate / peak, "limit": "FMA", "kernel": self.kernel}


def _share(row: Row, setting: Setting) -> Iterator[Row]:
    """The machine itself as the rival, where a layer is large enough to fill it."""
    if setting.tiny or (row.sizes["H"] >= 256 and row.sizes["B"] >= 32):
        yield Row(
            f"{row.name}, share of the peak",
            "multiply-adds on registers",
            row.sizes,
            row.gflops,
            setting.limits.peak(setting.threads),
            row.share,
            unit="GFLOP/s",
            goal=SHARE,
            gflops=row.gflops,
            share=row.share,
            limit=row.limit,
            kernel=row.kernel,
        )
