"""What tests of the native code share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from seqloom.kernels import native


@pytest.fixture
def poisoned_and_put_back() -> Iterator[None]:
    """Scratch memory is poisoned; afterwards threads, instruction set, memory and use of tiles are as they were."""
    library, threads, rows = native.module(), torch.get_num_threads(), native.ROWS_FOR_TILES
    library.poison(True)
    yield
    library.poison(False)
    library.use_own_pool(False)
    library.use(library.instruction_sets()[0])
    native.ROWS_FOR_TILES = rows
    torch.set_num_threads(threads)
