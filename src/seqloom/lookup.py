"""From a name in a recipe to the class it means: one door for our code and anyone else's.

`cell: lstm` is the class in `seqloom/cells/lstm.py`; `cell: my_package.cells:MyCell` is an import path.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Collection
from typing import TypeVar

from seqloom.errors import RecipeError

T = TypeVar("T")


def names(room: str) -> list[str]:
    """The names a recipe may use for `room` (`cells`, `inputs`, `outputs`): its files, less the base class."""
    package = importlib.import_module(f"seqloom.{room}")
    base = room.removesuffix("s")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name != base)


def find(room: str, name: str, base: type[T], trusted: Collection[str] | None = None) -> type[T]:
    """The class that `name` means.

    Args:
        room: the package our own files live in.
        name: a file name in that room, or an import path `package.module:Class`.
        base: the class it must derive from.
        trusted: import paths that are allowed; None allows all. A file must never choose what code
            runs, so whoever loads a model file passes the names they trust.

    Raises:
        RecipeError: there is no such name, it is not trusted, or it is not a `base`.
    """
    if ":" in name:
        return _imported(name, base, trusted)
    known = names(room)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise RecipeError(f"{room}: there is no {name!r}; {hint}known: {', '.join(known)}, or package.module:Class")
    module = importlib.import_module(f"seqloom.{room}.{name}")
    found = [c for c in vars(module).values() if _is_own_class(c, base, module.__name__)]
    if len(found) != 1:
        raise RecipeError(f"{room}/{name}.py must hold exactly one {base.__name__}, found {len(found)}")
    only: type[T] = found[0]
    return only


def _is_own_class(candidate: object, base: type, module: str) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, base) and candidate.__module__ == module


def _imported(path: str, base: type[T], trusted: Collection[str] | None) -> type[T]:
    if trusted is not None and path not in trusted:
        raise RecipeError(
            f"this file wants to run code from {path!r}; if you trust it, pass it by name (trusted=[{path!r}])"
        )
    module_name, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise RecipeError(f"cannot import {path!r}: {error}; expected package.module:Class") from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise RecipeError(f"{path!r} is {found!r}; expected a class derived from seqloom's {base.__name__}")
    return found
