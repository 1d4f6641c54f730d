"""Gradients in chunks are those of plain backpropagation, and keep one chunk at a time."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from catalogue import CELLS
from catalogue import _core as core_of
from flows import flat, start
from seqloom.batch import cut, encode, in_chunks
from seqloom.budget import PROCESS, Plan, plan_chunks
from seqloom.budget import _longest_chunk as longest_chunk
from seqloom.dataset import part_places, read_dataset
from seqloom.errors import RecipeError
from seqloom.explain.model import explain_model
from seqloom.fitting import prepare, validation_places
from seqloom.model import SequenceModel
from seqloom.recipe import parse_recipe
from seqloom.sizes import format_size, parse_size
from seqloom.training.exact import Chunks, Exact, give_back_what_is_freed
from seqloom.training.lessons import Material

FRONT = [{"channels": 4, "kernel_size": 3, "stride": 2}]
STEPS: dict[str, Any] = {
    "tag": {"kind": "labels", "dropout": 0.3},
    "mood": {"kind": "labels", "weight": 0.5, "label_smoothing": 0.1},
}
POOLED: dict[str, Any] = {
    "kind": {"kind": "category", "pooling": ["last", "mean", "max"], "dropout": 0.3},
    "price": {"kind": "number", "pooling": ["max"], "weight": 2.0},
}


@pytest.fixture(autouse=True, scope="module")
def doubles() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def table(lengths: tuple[int, ...]) -> pl.DataFrame:
    random = np.random.default_rng(4)

    def tags(count: int) -> list[str | None]:
        return [f"t{k}" if k < 3 else None for k in random.integers(0, 4, count)]

    rows = [
        {
            "split": part,
            "place": f"p{k % 2}",
            "x": random.normal(10 * k, 3, n).tolist(),
            "gap": random.exponential(size=n).tolist(),
            "tag": tags(n),
            "mood": tags(n),
            "kind": f"k{k % 3}" if k != 1 else None,
            "price": float(k),
        }
        for part in ("train", "valid", "test")
        for k, n in enumerate(lengths)
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def ready(
    outputs: dict[str, Any], core: dict[str, Any], *, memory: str = "2GB", lengths: tuple[int, ...] = (17, 0, 9, 1, 12)
) -> Exact:
    """Lessons over all rows at once."""
    recipe = {
        "data": {"split": {"column": "split"}},
        "inputs": {
            "x": {"kind": "series", "scale": "own", "lags": [3], "noise": 0.1},
            "place": {"kind": "category", "unknown_rate": 0.3},
            "gap": {"kind": "elapsed"},
        },
        "core": {"hidden_size": 4, "num_layers": 2, "dropout": 0.3, **core},
        "outputs": outputs,
        "training": {"memory": memory, "batch_size": len(lengths)},
    }
    model = SequenceModel(parse_recipe(recipe))
    dataset = read_dataset(model, table(lengths))
    prepare(model, dataset)
    torch.manual_seed(1)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    encoded = encode(dataset.segments, model.inputs, model.outputs)
    material = Material(encoded, part_places(model, dataset, "train"), validation_places(model, dataset))
    return Exact(model, material)


def gradients(model: SequenceModel, backward: Callable[[], object]) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    backward()
    return {name: torch.zeros_like(w) if w.grad is None else w.grad.clone() for name, w in model.named_parameters()}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert any(bool(gradient.abs().max() > 1e-3) for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-10, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")


def with_chunks(lessons: Exact, steps: int) -> Exact:
    lessons.plan = lessons.plan._replace(steps=steps)
    return lessons


CASES = [
    *[(STEPS, core_of(cell)) for cell in CELLS],
    *[(POOLED, {"cell": cell}) for cell in ("gru", "lstm", "catalogue:Leaky")],
    (POOLED | STEPS, {"cell": "lstm", "front": [{"channels": 4, "kernel_size": 3, "dilation": 2}]}),
    (POOLED, {"cell": "gru", "front": FRONT}),
    (STEPS, {"cell": "gru", "learned_state": True, "recurrent_dropout": 0.4, "zoneout": 0.2, "num_layers": 1}),
]
every_case = pytest.mark.parametrize(
    ("outputs", "core"),
    CASES,
    ids=[f"{'-'.join(o)}-{c['cell']}{'-front' * ('front' in c)}{'-options' * ('zoneout' in c)}" for o, c in CASES],
)


@every_case
def test_the_gradient_is_that_of_the_whole(outputs: dict[str, Any], core: dict[str, Any]) -> None:
    """Ragged rows, one of them empty, missing targets, own scales and lags; chance is off."""
    lessons = ready(outputs, core)
    model, places = lessons.model.eval(), lessons.material.train
    batch = cut(lessons.material.encoded, places, model.inputs, model.outputs)
    loss = model.loss(model(batch), batch)
    expected = gradients(model, (0.5 * loss).backward)

    @settings(max_examples=6)
    @given(st.integers(1, 20))
    def holds(steps: int) -> None:
        losses: list[float] = []
        found = gradients(model, lambda: losses.append(with_chunks(lessons, steps).learn(0, 0.5)))
        assert losses == [pytest.approx(loss.item(), rel=1e-12)]
        assert_same(found, expected)

    holds()


@every_case
def test_chance_is_replayed(outputs: dict[str, Any], core: dict[str, Any]) -> None:
    """Dropout everywhere, noise, hidden categories: the graph that was not cut, with the same draws, says the same."""
    lessons = with_chunks(ready(outputs, core), 5)
    model = lessons.model.train()

    def plain() -> None:
        torch.manual_seed(7)
        places = lessons._places(0)
        chunks = Chunks(lessons, places)
        memory, total = model.initial_memory(len(places.segment)), torch.zeros(())
        for k in range(len(chunks)):
            loss, memory = chunks.learn(k, memory)
            total = total + loss
        total.backward()

    def in_chunks_() -> None:
        torch.manual_seed(7)
        lessons.learn(0, 1.0)

    assert_same(gradients(model, in_chunks_), gradients(model, plain))


def test_a_batch_draws_anew() -> None:
    lessons = with_chunks(ready(STEPS, {}), 5)
    lessons.model.train()
    torch.manual_seed(3)
    first, second = lessons.learn(0, 1.0), lessons.learn(0, 1.0)
    torch.manual_seed(3)
    assert lessons.learn(0, 1.0) == first != second


class Kept:
    """What autograd keeps at once, in bytes."""

    def __init__(self) -> None:
        self.now = self.peak = 0

    def measure(self, run: Callable[[], object]) -> int:
        with torch.autograd.graph.saved_tensors_hooks(self._pack, lambda held: held.tensor):
            run()
        return self.peak

    def _pack(self, tensor: Tensor) -> Any:
        return Held(self, tensor)


class Held:
    def __init__(self, kept: Kept, tensor: Tensor) -> None:
        self.kept, self.tensor, self.size = kept, tensor, tensor.numel() * tensor.element_size()
        kept.now += self.size
        kept.peak = max(kept.peak, kept.now)

    def __del__(self) -> None:
        self.kept.now -= self.size


@pytest.mark.parametrize("outputs", [STEPS, POOLED], ids=["steps", "pooled"])
def test_no_more_than_a_chunk_is_kept(outputs: dict[str, Any]) -> None:
    """Eight times the steps keep no more; without chunks they keep as much more."""
    short, long = (ready(outputs, {}, lengths=(steps, steps - 1, steps)) for steps in (50, 400))
    kept = [Kept().measure(lambda x=x: with_chunks(x, 25).learn(0, 1.0)) for x in (short, long)]  # type: ignore[misc]
    assert kept[1] < 1.05 * kept[0]
    whole = Kept().measure(lambda: with_chunks(long, 400).learn(0, 1.0))
    assert whole > 7 * kept[1]


@given(st.integers(1, 10**10), st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 10**6))
def test_the_longest_chunk_that_fits(room: int, longest: int, step: int, state: int) -> None:
    found = longest_chunk(room, longest, step, state)
    assert 0 <= found <= longest
    if found:
        assert -(-longest // found) * state + found * step <= room
    if found < longest:
        chunks = [found + 1] if found else [1, longest, max(round((longest * state / step) ** 0.5), 1)]
        assert all((longest / steps + 1) * state + steps * step > room * (1 - 1e-12) for steps in chunks)


def plan(memory: str, lengths: tuple[int, ...]) -> Plan:
    lessons = ready(STEPS, {}, memory=memory, lengths=lengths)
    return plan_chunks(lessons.model, lessons.material.encoded, lessons.material.train)


def test_the_plan_follows_from_recipe_and_data() -> None:
    lengths = (20_000, 15_000)
    roomy, tight = plan("4GB", lengths), plan("620MB", lengths)
    assert (roomy.chunks, roomy.steps, roomy.longest, roomy.rows) == (1, 20_000, 20_000, 2)
    assert tight.chunks > 1
    assert (tight.chunks - 1) * tight.steps < 20_000 <= tight.chunks * tight.steps
    assert tight.peak <= 620e6 < roomy.peak < 4e9
    assert tight == plan("620MB", lengths)


def test_explain_shows_the_plan() -> None:
    lessons = ready(STEPS, {}, memory="620MB", lengths=(20_000, 15_000))
    text = explain_model(lessons.model, chunks=lessons.plan).to_text()
    steps, chunks = lessons.plan.steps, lessons.plan.chunks
    assert f"Exact gradients within 620MB\n  2 rows of up to 20,000 steps: {chunks} chunks of {steps:,} steps" in text
    assert f"predicted peak of the process {format_size(lessons.plan.peak)}" in flat(text)
    without = explain_model(lessons.model)
    assert "the length of chunks follows from the training sequences: name the table with --data" in without.to_text()
    assert without.to_json()["chunks"] is None
    assert explain_model(lessons.model, chunks=lessons.plan).to_json()["chunks"]["peak"] == lessons.plan.peak


def test_a_budget_that_is_too_small_says_what_is_needed() -> None:
    with pytest.raises(RecipeError, match=r"training.memory is 560MB, too little for 2 rows of 600 steps: ") as found:
        plan("560MB", (600, 500))
    needed = str(found.value).split("expected at least ")[1].split(":")[0]
    assert PROCESS < parse_size(needed) < PROCESS + 10e6
    assert plan(needed, (600, 500)).steps >= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"core": {"bidirectional": True}}, "training.memory is 2GB, but this model reads each sequence backwards too"),
        ({"training": {"memory": "2GB", "tbptt_steps": 5}}, "leave one of them out"),
        ({"training": {"memory": "2GB", "doctor_every": 5}}, "the doctor keeps every state of what it looks at"),
        ({"training": {"memory": "2 pounds"}}, "training.memory: got '2 pounds'; expected a size such as 500MB or 2GB"),
        ({"core": {"front": [{"channels": 2, "kernel_size": 3, "causal": False}]}}, "looks at later steps"),
    ],
)
def test_what_cannot_be_read_in_chunks_is_refused(change: dict[str, Any], message: str) -> None:
    recipe = {"inputs": {"x": {"kind": "series"}}, "outputs": STEPS, "training": {"memory": "2GB"}}
    with pytest.raises(RecipeError, match=message):
        SequenceModel(parse_recipe({**recipe, **change}))


def test_a_forecast_is_refused() -> None:
    recipe = {
        "data": {"time": "day"},
        "inputs": {"y": {"kind": "series"}},
        "outputs": {"y": {"kind": "forecast", "horizon": 2}},
        "training": {"memory": "2GB"},
    }
    with pytest.raises(RecipeError, match=r"training.memory is 2GB, but outputs.y wants an answer for each coming"):
        SequenceModel(parse_recipe(recipe))


@pytest.mark.parametrize(
    ("text", "size"), [("500MB", 500_000_000), ("2GB", 2 * 10**9), ("1.5GiB", 3 * 2**29), ("64 KiB", 65536)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["2", "GB", "-1GB", "2TB", "0MB", "2gb"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="expected a size such as 500MB or 2GB"):
        parse_size(text)


def test_sizes_in_words() -> None:
    assert [format_size(n) for n in (12, 2.5e3, 1e6, 2.34e9)] == ["12 bytes", "2.5KB", "1MB", "2.34GB"]


def test_chunks_cover_every_step() -> None:
    lessons = ready(STEPS, {})
    parts = list(in_chunks(lessons.material.train, 4))
    assert [int((part.origin - part.start).sum()) for part in parts] == [13, 12, 9, 4, 1]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_what_is_freed_goes_back_to_the_system() -> None:
    """Every second of many blocks: in the heap, where glibc puts blocks once it has seen one freed, gaps would stay."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    np.ones(4_000_000)
    give_back_what_is_freed()
    blocks = [np.ones(300_000) for _ in range(60)]
    before = resident()
    del blocks[::2]
    assert before - resident() > 50e6


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_million_steps_need_little_more_memory_than_ten_thousand(tmp_path: Path) -> None:
    """The peak of whole processes, and within the budget that was given."""
    script = Path(__file__).parents[2] / "benchmarks" / "long.py"
    command = [sys.executable, script, "--memory", "800MB", "--whole", "--json", tmp_path / "long.json"]
    subprocess.run([*map(str, command)], check=True, capture_output=True)
    found = json.loads((tmp_path / "long.json").read_text())
    assert [row["steps"] for row in found["rows"]] == [10_000, 1_000_000]
    assert not any("failed" in row for row in found["rows"]), found
    assert found["rows"][1]["chunks"] > 10
    assert all(row["peak_bytes"] < 800e6 for row in found["rows"])
    assert found["peak_of_the_last_to_the_first"] <= 1.1


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_series_of_a_million_steps_is_trained_within_the_budget(tmp_path: Path) -> None:
    """The whole command, from the file to the model: reading, two steps of training, validation."""
    random = np.random.default_rng(0)

    def row(part: str, steps: int) -> dict[str, Any]:
        values = random.normal(size=steps)
        above = np.convolve(values, np.ones(5), "full")[:steps] > 0
        return {"split": part, "x": values, "side": np.where(above, "above", "below")}

    rows = [row("train", 1_000_000), row("valid", 20_000), row("test", 1000)]
    pl.DataFrame(rows).write_parquet(tmp_path / "long.parquet")
    recipe = {
        "data": {"split": {"column": "split"}},
        "inputs": {"x": {"kind": "series"}},
        "core": {"cell": "lstm", "hidden_size": 128},
        "outputs": {"side": {"kind": "labels"}},
        "training": {"memory": "800MB", "batch_size": 1, "steps": 2, "validate_every": 2, "threads": 1},
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    run = tmp_path / "run"
    peak = 0
    with start("train", tmp_path / "recipe.yaml", "--data", tmp_path / "long.parquet", "-o", run) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            found = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
            peak = int(found[0].split()[1]) * 1024 if found else peak  # the first is still that of the test itself
            time.sleep(0.1)
    assert process.returncode == 0
    assert json.loads((run / "explain.json").read_text())["chunks"]["chunks"] > 10
    assert 200e6 < peak < 800e6
