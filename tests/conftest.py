"""What all tests share: one thread, a printed seed, and the catalogue and the benchmarks importable by name."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# `catalogue` is also how a user's own cell reaches a recipe: by import path.
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parent))

from flows import Outcome, flat

torch.set_num_threads(1)
settings.register_profile("seqloom", deadline=None, max_examples=20, print_blob=True)
settings.load_profile("seqloom")


@pytest.fixture
def seed() -> int:
    """A fresh seed for each test, printed; SEQLOOM_TEST_SEED repeats a failure."""
    chosen = int(os.environ.get("SEQLOOM_TEST_SEED", random.randrange(2**31)))
    print(f"SEQLOOM_TEST_SEED={chosen}")
    return chosen


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """A command in this process, through the same door as the console script."""

    def run(*arguments: object) -> Outcome:
        from seqloom.cli import main

        monkeypatch.setattr(sys, "argv", ["seqloom", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        capsys.readouterr()
        code: object = 0
        try:
            main()
        except SystemExit as exit:
            code = exit.code
        found = capsys.readouterr()
        assert isinstance(code, int)
        return Outcome(code, flat(found.out), flat(found.err))

    return run


@pytest.fixture
def no_auto_ets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the rival that takes longest; it has tests of its own."""
    monkeypatch.setattr("seqloom.rivals.auto_ets.AutoEts.available", lambda self: "left out of this test")


@pytest.fixture
def not_compiled(monkeypatch: pytest.MonkeyPatch) -> str:
    """A machine without the native kernels; gives the reason that is then shown."""
    reason = "the native kernels are not compiled here"
    monkeypatch.setattr("seqloom.kernels.native.library", lambda: reason)
    return reason
