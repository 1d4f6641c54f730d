"""The command: every benchmark gives its rows, with finite ratios or a reason, on the screen, in JSON and on a page."""

from __future__ import annotations

import importlib.util
import io
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from flows import Outcome
from seqloom.bench import BENCHMARKS, limits, onnx_runtime, pair
from seqloom.bench.onnx_runtime import OnnxLayer
from seqloom.bench.pair import KINDS, Pair, flops
from seqloom.bench.timing import QUICK, Effort
from seqloom.errors import KernelError
from seqloom.lookup import names
from seqloom.sequences import Sequences

Cli = Callable[..., Outcome]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """The document and the screen of all benchmarks at once, at tiny sizes."""
    from rich.console import Console

    from seqloom import commands

    target = tmp_path_factory.mktemp("bench") / "bench.json"
    console = Console(width=200, record=True, file=io.StringIO())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "_TRIES", 1)
        patch.setattr(limits, "_LEAST", 0.001)
        patch.setattr(limits, "_MEMORY", 1 << 20)
        patch.setattr(commands, "QUICK", Effort(2, 0.0))
        commands.bench(console, ["all"], target, quick=True, tiny=True, threads=1)
    return json.loads(target.read_text()), console.export_text()


def test_every_row_has_finite_figures_or_says_why_not(run: tuple[dict[str, Any], str]) -> None:
    document, _ = run
    assert {row["benchmark"] for row in document["rows"]} == set(BENCHMARKS)
    for row in document["rows"]:
        if row["ratio"] is None:
            assert row["note"], row
            assert (row["ours"], row["reached"]) == (None, "")
            continue
        figures = [row[key] for key in ("ratio", "ours", "theirs", "gflops", "share") if row[key] is not None]
        assert all(math.isfinite(figure) and figure > 0 for figure in figures), row
    measured = {row["benchmark"] for row in document["rows"] if row["ratio"] is not None}
    assert measured == set(BENCHMARKS) - {"applications"}


def test_every_promise_stands_in_the_table(run: tuple[dict[str, Any], str]) -> None:
    goals = {(row["goal"]["bar"], row["goal"]["dream"]) for row in run[0]["rows"] if row["goal"]}
    assert goals == {
        (60, 150), (1.5, 2.5), (15, 30), (3, 5), (1.2, 2), (1, 2), (0.95, 1.15), (0.65, 0.8), (15, 40), (2.5, 5),
        (5, 10), (10, 40), (1.5, 1.1), (5, 8), (1, 5), (1, 0.3),
    }  # fmt: skip
    trained = {row["name"] for row in run[0]["rows"] if row["benchmark"] == "cells"}
    assert trained == {f"{name} train" for name in names("cells")}


def test_what_may_not_be_quoted_says_so(run: tuple[dict[str, Any], str]) -> None:
    document, screen = run
    assert document["caveat"].startswith("tiny sizes")
    assert document["caveat"] in screen
    assert document["machine"]["limits"]["source"] in screen
    for row in document["rows"]:
        assert row["name"] in screen


def test_quick_says_so_in_its_output(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "seqloom.bench.measure.measure_limits", lambda threads: limits.Limits("none", threads, 1, 1, [])
    )
    found = cli("bench", "applications", "--quick")
    assert found.code == 0
    assert f"quick: medians of {QUICK.repeats}, not of 30; do not quote these figures" in found.out
    assert "do not quote" not in cli("bench", "applications").out


def test_an_unknown_benchmark_is_answered_with_the_known_ones(cli: Cli) -> None:
    found = cli("bench", "speed")
    assert found.code == 2
    assert found.err.startswith("error: there is no benchmark 'speed'; expected all or some of kernels, ragged,")
    assert cli("bench", "import", "--threads", "0").err == "error: --threads is 0; expected 1 or more"


def test_without_onnx_runtime_its_rows_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_runtime, "find_spec", lambda name: None)
    assert onnx_runtime.why_not() == "onnxruntime and onnx not installed; pip install 'seqloom[bench]'"


@pytest.mark.parametrize("kind", list(KINDS))
def test_onnx_runtime_computes_the_same_layer(kind: str) -> None:
    reason = onnx_runtime.why_not()
    if reason is not None:
        pytest.skip(reason)
    layer: nn.RNNBase = KINDS[kind](3, 5, batch_first=True)
    x = torch.randn(2, 7, 3)
    rival = OnnxLayer(layer, 1)
    with torch.no_grad():
        expected = layer(x)[0].transpose(0, 1)
    steps = x.transpose(0, 1).contiguous().numpy()
    whole, _ = rival(steps, rival.initial(2))
    first, state = rival(steps[:3], rival.initial(2))
    rest, _ = rival(steps[3:], state)
    torch.testing.assert_close(torch.from_numpy(whole[:, 0]), expected)
    torch.testing.assert_close(torch.cat([torch.from_numpy(part[:, 0]) for part in (first, rest)]), expected)


@pytest.mark.parametrize("kind", list(KINDS))
def test_contenders_that_differ_are_refused(kind: str) -> None:
    layers = Pair(kind, 3, 5)
    batch = Sequences.full(torch.randn(2, 4, 3))
    same = pair.forward(layers.ours, batch), pair.forward(layers.padded, batch)
    pair.require_equal(*same)
    with torch.no_grad():
        layers.cell.get_parameter("bias_ih").add_(0.1)
    with pytest.raises(KernelError, match="the contenders differ by"):
        pair.require_equal(*same)


def test_operations_are_those_of_the_weights() -> None:
    I, H, steps = 3, 5, 7  # noqa: E741
    assert flops(Pair("lstm", I, H).cell, steps, train=False) == 8 * H * (I + H) * steps
    assert flops(Pair("gru", I, H).cell, steps, train=True) == 3 * 6 * H * (I + H) * steps


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_the_recorded_run(run: tuple[dict[str, Any], str], generate: ModuleType, tmp_path: Path) -> None:
    assert "No run is recorded." in generate.benchmarks_page(tmp_path / "none.json")
    figures = tmp_path / "benchmarks.json"
    figures.write_text(json.dumps(run[0]))
    page = generate.benchmarks_page(figures)
    assert all(row["name"] in page and row["rival"] in page for row in run[0]["rows"])
    assert f"**{run[0]['caveat']}**" in page


def sections() -> dict[str, str]:
    """Of the page of dreams, what each place for figures asks for, and the text around it."""
    _, *parts = (ROOT / "docs" / "concepts" / "dreams.md").read_text().split("\n## ")
    return {re.findall(r"<!-- figures: (.+) -->", part)[0]: part for part in parts}


def test_every_promise_has_one_place_on_the_page_of_dreams(
    run: tuple[dict[str, Any], str], generate: ModuleType
) -> None:
    """And its bar and dream are those that the text there names."""
    found = [(asked, row) for asked in sections() for row in generate.promised(run[0], asked)]
    assert sorted(row["name"] + row["rival"] + str(row["sizes"]) for _, row in found) == sorted(
        row["name"] + row["rival"] + str(row["sizes"]) for row in run[0]["rows"] if row["goal"]
    )
    words = {"0.65": "65 %", "0.8": "80 %", "1": "the time of NHITS", "5": "a fifth"}
    for asked, row in found:
        for goal in (f"{row['goal']['bar']:g}", f"{row['goal']['dream']:g}"):
            named = re.findall(r"\d+(?:\.\d+)?", sections()[asked])
            assert float(goal) in map(float, named) or words.get(goal, goal) in sections()[asked], goal


def test_the_page_of_dreams_is_filled_from_the_recorded_run(
    run: tuple[dict[str, Any], str], generate: ModuleType, tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "concepts" / "dreams.md").read_text()
    nothing = generate.with_figures(page, tmp_path / "none.json")
    assert nothing.count("*Not recorded yet: `seqloom bench all") == len(sections()) + 1
    figures = tmp_path / "benchmarks.json"
    figures.write_text(json.dumps(run[0]))
    filled = generate.with_figures(page, figures)
    assert f"**{run[0]['caveat']}**" in filled
    for text in (nothing, filled):
        assert "<!-- figures" not in text
        assert all(part.partition("\n")[0] in text for part in sections().values())
    (row,) = (
        row for row in run[0]["rows"] if row["benchmark"] == "ragged" and row["goal"] and row["goal"]["bar"] == 60
    )
    assert f"| {row['ratio']:.3g}x | {row['reached']} |" in filled
    assert "| Memory of a million steps | ≤ 1.5 | ≤ 1.1 |" in filled
    assert "| Translation training against JoeyNMT | 5 | 8 |  | not measured | not measured |" in filled


def test_what_is_missing_to_a_dream(generate: ModuleType) -> None:
    def row(figure: float | None, *, at_most: bool = False, reached: str = "no") -> dict[str, Any]:
        goal = {"bar": 2.0, "dream": 4.0, "at_most": at_most, "of": "ratio"}
        measured = {"ratio": figure, "goal": goal, "reached": reached, "ours": 1.0, "theirs": 2.0, "share": 0.5}
        named = {"benchmark": "b", "name": "n", "rival": "r", "kernel": "", "sizes": {"B": 1, "T": 2, "I": 3, "H": 4}}
        return measured | named | {"unit": "ms", "note": "why", "gflops": None, "limit": "FMA"}

    _, _, slow, fast, small = generate.promise_table([row(1.0), row(5.0, reached="dream"), row(6.0, at_most=True)])
    assert slow.endswith("| 1x | no | 4x | 2x |"), "at its limit twice as fast"
    assert fast.endswith("| 5x | dream |  | 10x |")
    assert "| 1.5x |" in small
    assert generate.promise_table([]) == ["*The recorded run has no row of it.*"]
