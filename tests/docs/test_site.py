"""The site builds without a warning, needs no network, and its generated pages say what the code says."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import seqloom
from seqloom.inputs.input import Input
from seqloom.layers.conv import ConvSettings
from seqloom.lookup import find, names
from seqloom.outputs.output import Output
from seqloom.recipe import CoreSettings, TrainingSettings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCE = ROOT / "src" / "seqloom"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for library in ("mkdocs", "material", "mkdocstrings", "mkdocstrings_handlers"):
        pytest.importorskip(library, reason="the site is built where the extra `docs` is installed")
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(place)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}  # an advertisement of the theme
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=quiet)
    assert done.returncode == 0, done.stdout + done.stderr
    return place


def test_the_site_has_every_page(site: Path) -> None:
    made = {str(path.relative_to(site)) for path in site.rglob("*.html")}
    written = {str(path.relative_to(DOCS).with_suffix(".html")) for path in DOCS.rglob("*.md")}
    assert written | {"reference/recipe.html", "reference/cli.html", "reference/cells.html"} <= made


def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=\"?([^\" >]+)", page.read_text())
        assert [address for address in loaded if re.match(r"(https?:)?//", address)] == [], page


def test_the_recipe_page_names_every_setting(generate: ModuleType) -> None:
    page = generate.recipe_page()
    for prefix, settings in (
        ("core", CoreSettings),
        ("core.front.N", ConvSettings),
        ("training", TrainingSettings),
    ):
        for key, field in settings.model_fields.items():
            assert f"| `{prefix}.{key}` |" in page
            assert field.description
            assert field.description.replace("|", "\\|") in page
    for room, base in (("inputs", Input), ("outputs", Output)):
        for name in names(room):
            assert f"{{ #{room}-{name} }}" in page
            kind: Any = find(room, name, base)
            for key, field in kind.Settings.model_fields.items():
                assert f"| `{room}.NAME.{key}` |" in page
                assert field.description


def test_the_command_page_names_every_option(generate: ModuleType) -> None:
    import typer

    from seqloom.cli import app

    page = generate.cli_page()
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        assert f"## `seqloom {name}`" in page
        for parameter in command.params:
            assert parameter.name == "help" or parameter.help in page


def test_the_cells_page_draws_every_cell(generate: ModuleType) -> None:
    pages = generate.pages()
    for name in names("cells"):
        assert f"(cells/{name}.svg)" in pages["reference/cells.md"]
        assert pages[f"reference/cells/{name}.svg"].startswith("<svg")


def test_every_public_name_is_in_the_python_reference() -> None:
    page = (DOCS / "reference" / "api" / "seqloom.md").read_text(encoding="utf-8")
    for name in set(seqloom.__all__) - {"__version__"}:
        assert f".{name}\n" in page


def problem_codes() -> set[str]:
    """Every code that some call enters in a ledger."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            texts = [arg.value for arg in node.args[:2] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            if name == "add" and len(node.args) == 3 and texts:
                found.add(texts[-1])
            if name == "_report" and texts:
                found.add(texts[0])
    # Where the code is a variable, only the severity is a constant.
    return {code for code in found - {"error", "warning", "note"} if re.fullmatch(r"[a-z]+(-[a-z]+)*", code)}


def test_the_problems_page_lists_exactly_the_codes_of_the_source() -> None:
    page = (DOCS / "concepts" / "problems.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert set(listed) == problem_codes()


def test_the_errors_page_lists_every_exception() -> None:
    from seqloom import errors

    page = (DOCS / "concepts" / "errors.md").read_text(encoding="utf-8")
    for name, error in vars(errors).items():
        if isinstance(error, type) and issubclass(error, errors.SeqloomError):
            assert re.search(rf"^\| `{name}` \|.*\| {error.exit_code} \|", page, re.MULTILINE), name


def test_the_design_page_shows_the_order_of_imports_that_is_tested() -> None:
    spec = importlib.util.spec_from_file_location("import_rules", ROOT / "tests" / "test_imports.py")
    assert spec is not None
    assert spec.loader is not None
    rules = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rules)
    rooms = {path.stem for path in SOURCE.iterdir()} | {"seqloom"}
    kept = [", ".join(room for room in layer if room in rooms) for layer in rules.LAYERS]
    page = (DOCS / "design" / "design.md").read_text(encoding="utf-8")
    assert "```text\n" + "\n".join(kept) + "\n```" in page
