"""Imports go one way: a room may import rooms in lower layers and itself, nothing else."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import seqloom

SOURCE = Path(seqloom.__file__).parent
# From the lowest layer to the highest; rooms in one layer do not know each other. Type-only imports count too.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("settings", "lookup", "sizes", "casting"),
    ("sequences", "state", "saving", "scaling", "standardise", "vocabulary", "ranking", "tokenizer", "word_vectors"),
    ("data",),
    ("cells",),
    ("wrappers",),
    ("kernels", "gates"),
    ("layers", "search", "metrics", "rivals"),
    ("inputs",),
    ("outputs",),
    ("recipe", "batch"),
    ("model",),
    ("budget",),
    ("dataset", "predict", "shown", "explain", "artefact"),
    ("leak", "training", "stream", "attended"),
    ("evaluate",),
    ("fitting",),
    ("backtest", "doctor"),
    ("trained",),
    ("seqloom",),  # the public names; above it only what belongs to the command line
    ("report", "run", "suggest", "bench"),
    ("commands",),
    ("cli",),
)
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}


def room_of(module: str) -> str:
    """The room of `seqloom.room.file`; of `seqloom` itself, `seqloom`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def modules() -> dict[str, Path]:
    found = {}
    for file in sorted(SOURCE.rglob("*.py")):
        dotted = ".".join(("seqloom", *file.relative_to(SOURCE).with_suffix("").parts))
        found[dotted.removesuffix(".__init__")] = file
    return found


def imported(text: str, known: set[str]) -> list[tuple[int, str]]:
    """Line and name of each module of ours that a source text imports, wherever in the text."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.append((node.lineno, full if full in known else node.module))
        elif isinstance(node, ast.ImportFrom):
            found.append((node.lineno, "seqloom.relative"))
    return sorted((line, name) for line, name in found if name.partition(".")[0] == "seqloom")


def upward(module: str, text: str, known: set[str]) -> list[str]:
    """One sentence for each import that does not lead down."""
    own = room_of(module)
    found = []
    for line, name in imported(text, known):
        other = room_of(name)
        if other != own and RANK.get(other, len(LAYERS)) >= RANK[own]:
            found.append(f"{module.replace('.', '/')}.py:{line}: {own} imports {other}, which is not below it")
    return found


def test_every_room_has_a_layer() -> None:
    assert sorted({room_of(name) for name in modules()} - RANK.keys()) == []


def test_imports_lead_down() -> None:
    files = modules()
    found = [line for name, file in files.items() for line in upward(name, file.read_text(), set(files))]
    assert found == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("seqloom.cells.gru", "from seqloom.kernels import choose"),
        ("seqloom.data.series", "    import seqloom.model"),
        ("seqloom.inputs.series", "from seqloom.outputs.output import Places"),
        ("seqloom.kernels.fused", "from seqloom import model"),
        ("seqloom.recipe", "from seqloom.batch import cut"),
        ("seqloom.model", "from seqloom.unheard_of import thing"),
        ("seqloom.model", "from . import batch"),
    ],
)
def test_an_import_that_leads_up_is_found(module: str, line: str) -> None:
    text = "if True:\n" + ("    " if not line.startswith(" ") else "") + line
    (found,) = upward(module, text, set(modules()))
    assert found.startswith(f"{module.replace('.', '/')}.py:2: {room_of(module)} imports ")


LATE = ("torch", "polars", "pandas", "plotly", "tensorboard", "tokenizers")
LATE += ("sklearn", "statsforecast", "accelerate", "holidays")


@pytest.mark.parametrize(
    "code",
    [
        "import seqloom",
        "import seqloom.errors, seqloom.lookup; seqloom.__version__; dir(seqloom)",
        "import sys; sys.argv = ['seqloom', '--help']; import seqloom.cli\n"
        "try: seqloom.cli.main()\nexcept SystemExit as end: assert end.code == 0",
        "import sys; sys.argv = ['seqloom', 'train', '--help']; import seqloom.cli\n"
        "try: seqloom.cli.main()\nexcept SystemExit as end: assert end.code == 0",
    ],
    ids=["import seqloom", "errors", "--help", "train --help"],
)
def test_nothing_heavy_is_imported_before_it_is_used(code: str) -> None:
    check = f"{code}\nimport sys\nprint('heavy:', [name for name in {LATE!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[-1] == "heavy: []"
