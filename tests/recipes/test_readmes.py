"""What the page of a recipe of words and events has to say, each thing found by its words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

RECIPES = Path(__file__).parents[2] / "recipes"
NAMES = ["sentiment", "translation", "stories", "paragraphs", "watch-history", "sessions"]
ROWS_OF_A_TABLE = re.compile(r"^\| ---[^\n]*\n((?:\|[^\n]*\n)+)", re.MULTILINE)


@pytest.fixture(params=NAMES)
def page(request: pytest.FixtureRequest) -> tuple[str, str]:
    name: str = request.param
    return name, (RECIPES / name / "README.md").read_text(encoding="utf-8")


def test_every_recipe_of_the_folder_has_its_commands(page: tuple[str, str]) -> None:
    name, text = page
    (commands, *_) = re.findall(r"^```text\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert f"python recipes/{name}/prepare.py" in commands
    declared = sorted(path.name for path in (RECIPES / name).glob("*.yaml"))
    trained = re.findall(rf"^seqloom train recipes/{name}/(\S+) --data \S+ -o (\S+)$", commands, re.MULTILINE)
    assert sorted(recipe for recipe, _ in trained) == declared
    assert re.findall(r"^seqloom evaluate (\S+)", commands, re.MULTILINE) == [run for _, run in trained]


@pytest.mark.parametrize(
    "said",
    [
        r"\A# [^\n]+\n\n\S",  # what it answers
        r"Topology: (a )?sequence → ",
        r"95\s%\sinterval",
        r"`seqloom evaluate`|Markov chain",  # where figures are from, or rivals in rows of their own
        r"\d\s(million\s)?weights",
        r"\d\s(MB|kB)",
        r"(seconds|minutes)\b",
        r"^#+ .*(tried|found out)",
    ],
)
def test_a_page_says(said: str, page: tuple[str, str]) -> None:
    assert re.search(said, page[1], re.MULTILINE), f"recipes/{page[0]}/README.md"


def test_a_page_shows_ten_answers(page: tuple[str, str]) -> None:
    sizes = [len(rows.splitlines()) for rows in ROWS_OF_A_TABLE.findall(page[1])]
    assert 10 in sizes, f"recipes/{page[0]}/README.md"
