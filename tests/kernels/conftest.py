"""What tests of the native code share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from seqloom.kernels import native


@pytest.fixture
def poisoned_and_put_back() -> Iterator[None]:
    """Scratch memory is poisoned; afterwards threads, instruction set and memory are as they were."""
    library, threads = native.module(), torch.get_num_threads()
    library.poison(True)
    yield
    library.poison(False)
    library.use_own_pool(False)
    library.use(library.instruction_sets()[0])
    torch.set_num_threads(threads)
