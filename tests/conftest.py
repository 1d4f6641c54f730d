"""What all tests share: one thread, a printed seed, and the catalogue importable by name."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# `catalogue` is also how a user's own cell reaches a recipe: by import path.
sys.path.insert(0, str(Path(__file__).parent))

torch.set_num_threads(1)
settings.register_profile("seqloom", deadline=None, max_examples=20, print_blob=True)
settings.load_profile("seqloom")


@pytest.fixture
def seed() -> int:
    """A fresh seed for each test, printed; SEQLOOM_TEST_SEED repeats a failure."""
    chosen = int(os.environ.get("SEQLOOM_TEST_SEED", random.randrange(2**31)))
    print(f"SEQLOOM_TEST_SEED={chosen}")
    return chosen
