"""What is fast, what is not, and how far the machine's limit is: the command `seqloom bench`.

Every benchmark is a file here with `rows(setting)`, which measures and gives a `Row` for each comparison, lost ones
included. Ours and theirs take turns in one process with the same threads, so that a ratio survives a noisy machine.
"""

from __future__ import annotations

from types import ModuleType

from seqloom.bench import applications, cells, imports, kernels, long, ragged, stream

BENCHMARKS: dict[str, ModuleType] = {
    "kernels": kernels,
    "ragged": ragged,
    "stream": stream,
    "cells": cells,
    "long": long,
    "import": imports,
    "applications": applications,
}
