"""The scripts of the recipes, run in this process as a user runs them."""

from __future__ import annotations

import resource
import runpy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from seqloom.errors import SavedFileError

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[str, Path, Path], str]:
    """A script such as `sentiment/prepare.py` from a source folder to another one; what it says.

    Before it succeeds it is run on a disk that is full at once, where it may leave nothing.
    """

    def run(name: str, source: Path, out: Path) -> str:
        monkeypatch.setattr(sys, "argv", [name, str(source), str(out)])
        before = _content(out)
        with _full_disk(), pytest.raises((SavedFileError, OSError)):
            runpy.run_path(str(RECIPES / name), run_name="__main__")
        assert _content(out) == before, "a file is there whole or not at all"
        capsys.readouterr()
        runpy.run_path(str(RECIPES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.fixture
def prepare(script: Callable[[str, Path, Path], str]) -> Callable[[str, Path, Path], str]:
    """The `prepare.py` of a recipe."""
    return lambda recipe, source, out: script(f"{recipe}/prepare.py", source, out)


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*")}


@contextmanager
def _full_disk() -> Iterator[None]:
    """No file may be longer than a few bytes."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
