"""The public names are listed once, described, and their files stay readable."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import seqloom

SOURCE = Path(seqloom.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 600, 70
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def test_all_is_sorted_and_can_be_imported() -> None:
    assert list(seqloom.__all__) == sorted(seqloom.__all__)
    assert len(set(seqloom.__all__)) == len(seqloom.__all__)
    for name in seqloom.__all__:
        assert getattr(seqloom, name) is not None


def test_all_lists_exactly_what_can_be_imported() -> None:
    """The lazy names, the version, and nothing else that the package itself defines."""
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    defined = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    public = {name for name in defined if not name.startswith("_")} | {"__version__"} | set(seqloom._HOMES)
    assert set(seqloom.__all__) == public


def test_each_name_is_the_one_of_its_home() -> None:
    for name, home in seqloom._HOMES.items():
        assert getattr(seqloom, name) is getattr(importlib.import_module(home), name)
        assert getattr(seqloom, name).__module__ == home


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"has no attribute 'train'; it has Recipe, Sequences, Trained"):
        seqloom.train  # noqa: B018


def definitions(tree: ast.Module) -> Iterator[tuple[str, Definition]]:
    """Public classes, functions and methods by name; not what functions define inside themselves."""

    def walk(node: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, Definition]]:
        for child in node.body:
            if isinstance(child, Definition):
                yield f"{prefix}{child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from walk(child, f"{prefix}{child.name}.")

    yield from walk(tree, "")


def is_public(name: str) -> bool:
    return not any(part.startswith("_") for part in name.split("."))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_described_and_short_enough(file: Path) -> None:
    text = file.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), f"{file} has no docstring"
    assert len(text.splitlines()) <= MOST_LINES
    bare = [name for name, node in definitions(tree) if is_public(name) and not ast.get_docstring(node)]
    assert bare == []
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {f.name: f.end_lineno - f.lineno + 1 for f in functions if f.end_lineno is not None}
    assert {name: lines for name, lines in long.items() if lines > MOST_LINES_OF_A_FUNCTION} == {}
