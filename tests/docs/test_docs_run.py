"""Every block of the documentation is run: those of one page in order, in one empty folder, as a reader would.

A block with `title="name"` is saved as that file. Python without a title is executed, commands are run, YAML is
checked as a recipe: whole where it has `outputs:`, else as an edit of the recipe before it on the page.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
FENCE = re.compile(r"^(?P<indent> *)```(?P<head>[^\n]*)\n(?P<body>.*?)^(?P=indent)```[ ]*$", re.MULTILINE | re.DOTALL)
SHOWN_ONLY = {"text", "json", ""}
ELSEWHERE = {"pip", "git", "cd", "python", "python3", "source", "mkdocs", "ruff", "mypy", "pytest"}


class Block(NamedTuple):
    """A fenced block: its language, the file it is to be saved as, its text and its line on the page."""

    language: str
    title: str | None
    body: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        language, _, rest = match["head"].strip().partition(" ")
        title = re.search(r'title="([^"]+)"', rest)
        body = re.sub(f"^{match['indent']}", "", match["body"], flags=re.MULTILINE)
        yield Block(language, title[1] if title else None, body, text.count("\n", 0, match.start()) + 1)


def commands(block: Block) -> Iterator[str]:
    """The commands of a shell block; of a console block, those after a prompt."""
    text = re.sub(r"\\\n\s*", "", block.body)
    for line in text.splitlines():
        if block.language == "console":
            if line.startswith("$ "):
                yield line[2:]
        elif line.strip() and not line.lstrip().startswith("#"):
            yield line


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in, one thread, and no rival that takes longer than the model."""
    from seqloom.rivals.auto_ets import AutoEts

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(AutoEts, "available", lambda self: "left out of the test of the documentation")
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    random = torch.get_rng_state()
    torch.set_num_threads(1)
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    torch.set_rng_state(random)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_a_page_runs(page: Path, folder: Path) -> None:
    """All of them, as a plain look for lines with a fence counts them."""
    lines = page.read_text(encoding="utf-8").splitlines()
    assert 2 * run_page(page, folder) == sum(line.lstrip().startswith("```") for line in lines)


def run_page(page: Path, folder: Path) -> int:
    """Run all blocks, and count them; the first that does not run is named by its line."""
    scope: dict[str, Any] = {"__name__": "__main__"}
    recipe: dict[str, Any] = {}
    found = list(blocks(page))
    for block in found:
        try:
            recipe = _run(block, scope, recipe, folder)
        except Exception as error:
            raise AssertionError(f"{page.name} line {block.line}: {type(error).__name__}: {error}") from error
    return len(found)


def _run(block: Block, scope: dict[str, Any], recipe: dict[str, Any], folder: Path) -> dict[str, Any]:
    if block.title is not None:
        (folder / block.title).write_text(block.body, encoding="utf-8")
    if block.language == "yaml":
        return _check_recipe(block.body, recipe)
    if block.language in ("bash", "console", "sh", "shell"):
        for command in commands(block):
            _command(command)
    elif block.language == "python":
        code = compile(block.body, block.title or "block", "exec")
        if block.title is None:
            exec(code, scope)
    else:
        assert block.language in SHOWN_ONLY, f"a block in {block.language!r}; expected bash, python, yaml or text"
    return recipe


def _check_recipe(body: str, before: dict[str, Any]) -> dict[str, Any]:
    from seqloom.recipe import _PlainLoader, parse_recipe  # recipes keep dates as text

    found = yaml.load(body, Loader=_PlainLoader)
    if "outputs" in found:
        parse_recipe(found)
        return dict(found)
    parse_recipe(_merged(before, found))
    return before


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    both = {key: _merged(old[key], new[key]) for key in old.keys() & new.keys() if isinstance(new[key], dict)}
    return old | new | both


def _command(line: str) -> None:
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        name, _, value = words.pop(0).partition("=")
        assert (name, value) == ("PYTHONPATH", "."), f"{name}={value} is not known here"
        sys.path.insert(0, str(Path.cwd()))
    program = Path(words[0]).name
    if program == "seqloom":
        expected = re.search(r"# exit code (\d+)", line)
        with _fed(words) as arguments:
            found = _exit_code(arguments)
        assert found == (int(expected[1]) if expected else 0), line
    elif words[:2] == ["mkdir", "-p"]:
        Path(words[2]).mkdir(parents=True, exist_ok=True)
    elif program == "make":
        _require_target(words[1:])
    else:
        assert program in ELSEWHERE, f"{line!r}: {program} is neither run nor known"


@contextmanager
def _fed(words: list[str]) -> Iterator[list[str]]:
    """The arguments of a command, with standard input from the file after `<`, where there is one."""
    if words[-2:-1] != ["<"]:
        yield words[1:]
        return
    before = sys.stdin
    with Path(words[-1]).open(encoding="utf-8") as sys.stdin:
        try:
            yield words[1:-2]
        finally:
            sys.stdin = before


def _exit_code(arguments: list[str]) -> int:
    """Run the command in this process; its exit code."""
    from seqloom import cli

    before = sys.argv
    sys.argv = ["seqloom", *arguments]
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        sys.argv = before
    return 0


def _require_target(words: list[str]) -> None:
    makefile = ROOT / "Makefile"
    if not makefile.exists():
        pytest.skip("there is no Makefile yet")
    targets = set(re.findall(r"^([a-z-]+):", makefile.read_text(encoding="utf-8"), re.MULTILINE))
    asked = [word for word in words if "=" not in word]
    assert set(asked) <= targets, f"make {' '.join(asked)}: the Makefile has {sorted(targets)}"


def test_pages_show_no_block_that_is_not_closed() -> None:
    for page in PAGES:
        fences = re.findall(r"^ *```", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) == 2 * len(list(blocks(page))), page


@pytest.mark.parametrize(
    "text",
    [
        "```python\nassert False\n```",
        "```bash\nseqloom nonsense\n```",
        "```bash\nseqloom explain cell lstm   # exit code 1\n```",
        "```bash\nmake nothing\n```",
        "```bash\nrm -rf /tmp/somewhere\n```",
        "```yaml\noutputs:\n  y: {kind: forecast, horizn: 7}\n```",
        "```yaml\noutputs:\n  y: {kind: number}\n```\n\n```yaml\ntraining: {step: 7}\n```",
        "```javascript\n1\n```",
    ],
)
def test_a_wrong_block_is_found(text: str, folder: Path) -> None:
    page = folder / "page.md"
    page.write_text(text + "\n", encoding="utf-8")
    with pytest.raises(AssertionError, match=r"page\.md line \d+"):
        run_page(page, folder)


def test_pages_name_no_host_and_no_path_of_a_machine() -> None:
    for page in PAGES:
        found = re.findall(r"https?://\S+|/(?:home|root|work|opt|usr)/\S*", page.read_text(encoding="utf-8"))
        assert found == [], page
