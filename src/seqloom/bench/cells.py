"""Training of every cell: the kernel that is chosen for it against the plain loop over its `step`."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from seqloom.bench.pair import flops, require_equal, run, train
from seqloom.bench.row import Goal, Row, timed
from seqloom.bench.setting import Setting
from seqloom.bench.threads import torch_threads
from seqloom.bench.timing import Call, interleaved
from seqloom.cells.cell import Cell
from seqloom.kernels import choose
from seqloom.lookup import find, names
from seqloom.sequences import Sequences

SIZE, TINY = (32, 100, 128, 128), (2, 6, 4, 8)
PROMISED = {"layer_norm_lstm", "peephole_lstm", "slstm", "min_gru"}
GOAL = Goal(10, 40)
COMPARED = 10  # steps over which results are compared


def rows(setting: Setting) -> Iterator[Row]:
    """One row for each cell."""
    with torch_threads(setting.threads):
        for name in names("cells"):
            yield _compared(name, setting)


def _compared(name: str, setting: Setting) -> Row:
    B, T, I, H = TINY if setting.tiny else SIZE  # noqa: E741
    torch.manual_seed(0)
    cell, values = find("cells", name, Cell)(I, H), torch.randn(B, T, I)
    if cell.reads_elapsed:
        values[..., 0] = values[..., 0].abs()  # time does not run backwards
    batch, gradient = Sequences.full(values), torch.randn(B, T, cell.output_size)
    weights = list(cell.parameters())

    def contenders(steps: int) -> dict[str, Call]:
        first, slopes = Sequences.full(values[:, :steps]), gradient[:, :steps]
        return {
            "ours": train(lambda input: run(cell, input), weights, first, slopes),
            "loop": train(lambda input: run(cell, input, "reference"), weights, first, slopes),
        }

    # A few steps tell whether both compute the same. Over many, a fresh LayerNorm LSTM makes a thousand times more of
    # every last bit, whoever runs it.
    require_equal(*contenders(min(T, COMPARED)).values())
    found = interleaved(contenders(T), setting.effort)
    rate = flops(cell, B * T, train=True) / found["ours"] / 1e9
    kernel = choose(cell, batch).name
    return timed(
        f"{name} train",
        "plain torch loop",
        {"B": B, "T": T, "I": I, "H": H},
        found["ours"],
        found["loop"],
        goal=GOAL if name in PROMISED else None,
        gflops=rate,
        share=rate / setting.limits.peak(setting.threads),
        limit="FMA",
        kernel=kernel,
        note="this cell has no kernel but the loop" if kernel == "reference" else "",
    )
