"""Who runs a recurrence over a whole sequence: every kernel is a file here with `why_not` and `run`.

A kernel takes a cell, a batch and a state and gives outputs and the final state, with `reverse=True` from each row's
true end. All kernels agree; they differ in speed. `choose` picks the first that can run, and keeps every refusal for
`seqloom explain`.
"""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

from seqloom.cells.cell import Cell
from seqloom.errors import KernelError
from seqloom.kernels import fused, native, native_scan, reference, scan
from seqloom.sequences import Sequences

# Fastest first; the reference always runs.
KERNELS: dict[str, ModuleType] = {
    "native": native,
    "native_scan": native_scan,
    "fused": fused,
    "scan": scan,
    "reference": reference,
}


class Choice(NamedTuple):
    """The kernel that runs, and why others could not."""

    name: str
    kernel: ModuleType
    refusals: dict[str, str]

    @property
    def label(self) -> str:
        """The kernel's name, and how training multiplies where that differs."""
        if self.kernel is not native or not native.tiles():
            return self.name
        return f"{self.name}, with {native.ROWS_FOR_TILES} rows or more in training through the processor's tiles"


def choose(cell: Cell, input: Sequences, backend: str = "auto") -> Choice:
    """The kernel for this cell and batch.

    Raises:
        KernelError: `backend` names a kernel that cannot run here, or no kernel at all.
    """
    if backend != "auto":
        return _named(cell, input, backend)
    reasons = {name: kernel.why_not(cell, input) for name, kernel in KERNELS.items()}
    refusals = {name: reason for name, reason in reasons.items() if reason is not None}
    for name, kernel in KERNELS.items():
        if name not in refusals:
            return Choice(name, kernel, refusals)
    raise KernelError(f"no kernel runs {cell.title}: {refusals}")


def _named(cell: Cell, input: Sequences, backend: str) -> Choice:
    if backend not in KERNELS:
        raise KernelError(f"there is no kernel {backend!r}; expected auto or one of {', '.join(KERNELS)}")
    reason = KERNELS[backend].why_not(cell, input)
    if reason is not None:
        raise KernelError(f"kernel {backend!r} cannot run: {reason}; use backend: auto")
    return Choice(backend, KERNELS[backend], {})
