"""Training on rows of unequal length, from a quarter of the longest on: against PackedSequence and against padding."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from seqloom.bench.pair import KINDS, Pair, flops, require_equal, train
from seqloom.bench.row import Goal, Row, timed
from seqloom.bench.setting import Setting
from seqloom.bench.threads import torch_threads
from seqloom.bench.timing import interleaved
from seqloom.kernels import choose
from seqloom.sequences import Sequences

SIZES = ((32, 100, 128, 128), (64, 100, 256, 256), (32, 400, 64, 256), (32, 1000, 64, 128))
TINY = ((3, 8, 3, 8),)
# Promised of the longest batch alone.
GOALS = {
    ("lstm", "packed"): Goal(60, 150),
    ("lstm", "padded"): Goal(1.5, 2.5),
    ("gru", "packed"): Goal(15, 30),
    ("gru", "padded"): None,
}


def rows(setting: Setting) -> Iterator[Row]:
    """Two rows for each size: packed is what gives the same results, padded is what does more work in one piece."""
    sizes = TINY if setting.tiny else SIZES
    with torch_threads(setting.threads):
        for kind in KINDS:
            for size in sizes:
                yield from _compared(kind, size, setting, promised=size == sizes[-1])


def _compared(kind: str, size: tuple[int, int, int, int], setting: Setting, *, promised: bool) -> Iterator[Row]:
    B, T, I, H = size  # noqa: E741
    torch.manual_seed(0)
    pair, lengths = Pair(kind, I, H), torch.randint(T // 4, T + 1, (B,))
    lengths[0] = T
    batch, gradient = Sequences(torch.randn(B, T, I), lengths).zero_padding(), torch.randn(B, T, H)
    theirs = list(pair.layer.parameters())
    contenders = {
        "ours": train(pair.ours, list(pair.cell.parameters()), batch, gradient),
        "packed": train(pair.packed, theirs, batch, gradient),
        "padded": train(pair.padded, theirs, batch, gradient),
    }
    require_equal(contenders["ours"], contenders["packed"])
    found = interleaved(contenders, setting.effort)
    steps = int(lengths.sum())
    rate = flops(pair.cell, steps, train=True) / found["ours"] / 1e9
    for rival in ("packed", "padded"):
        yield timed(
            f"ragged {kind.upper()} train",
            f"nn.{kind.upper()}, {rival}",
            {"B": B, "T": T, "I": I, "H": H, "steps": steps},
            found["ours"],
            found[rival],
            goal=GOALS[kind, rival] if promised else None,
            gflops=rate,
            share=rate / setting.limits.peak(setting.threads),
            limit="FMA",
            kernel=choose(pair.cell, batch).name,
        )
