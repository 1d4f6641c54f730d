"""A recipe with the doctor's edits, written without losing what stood there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import yaml

from seqloom.doctor.diseases import Edit
from seqloom.recipe import override, parse_recipe


def treated(recipe: Path, edits: Sequence[Edit]) -> str:
    """A recipe file with some settings changed, and a comment for each that says why.

    Raises:
        RecipeError: the changed recipe is none.
    """
    document = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    for edit in edits:
        override(document, f"{edit.key}={yaml.safe_dump(edit.value, default_flow_style=True).partition(chr(10))[0]}")
    comments = [f"# changed: {edit} ({edit.reason})\n" for edit in edits]
    return "".join(["# By `seqloom doctor`.\n", *comments]) + parse_recipe(document).render()


def keep_former(target: Path) -> Path | None:
    """Give a file that is there another name, `NAME.former`, or `NAME.former-2` and so on, and return it."""
    if not target.exists():
        return None
    number = 1
    while (former := target.with_name(f"{target.name}.former{'' if number == 1 else f'-{number}'}")).exists():
        number += 1
    os.rename(target, former)
    return former
