"""The scripts in `benchmarks/` run, at sizes that only show that; others are run by tests of what they measure."""

from __future__ import annotations

import sys
from pathlib import Path

import front_end
import polars as pl
import pytest
import translation
from joeynmt_steps import Mark

from seqloom.batch import Batch


@pytest.mark.parametrize("name", ["none", "stack 16", "front 16"])
def test_a_front_end_is_measured_beside_none(name: str) -> None:
    table = front_end.order(160)
    assert set(table["answer"]) == {f"{a} then {b}" for a in front_end.PERIODS for b in front_end.PERIODS}
    found = front_end.measured(name, front_end.CONTENDERS[name], table[::10], seconds=0.01)
    assert found["longest_row_in_the_core"] == (160 if name == "none" else 10)
    assert found["factor"] == (1 if name == "none" else 16)
    assert found["training_steps"] == 10
    assert found["seconds_per_step"] > 0
    assert 0 <= found["accuracy"]["lo"] <= found["accuracy"]["value"] <= found["accuracy"]["hi"] <= 100


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> pl.DataFrame:
    """The translation benchmark at sizes that only show that it runs, and its pairs."""
    for name, value in {"ROWS": 16, "WORDS": 53, "SIZE": 8}.items():
        monkeypatch.setattr(translation, name, value)
    return translation.made_up(80)


def test_all_words_stand_in_the_pairs(small: pl.DataFrame) -> None:
    for column in ("de", "en"):
        assert {word for text in small[column] for word in text.split()} == {f"w{k}" for k in range(50)}
    model = translation.declared(translation.CONTENDERS["additive"], 1)
    translation.prepare(model, translation.read_dataset(model, small))
    assert [len(part.tokenizer) for part in (*model.inputs.values(), *model.outputs.values())] == [53, 53]


def batches(table: pl.DataFrame, count: int) -> tuple[list[Batch], list[Batch]]:
    model = translation.declared(translation.CONTENDERS["additive"], 1)
    dataset = translation.read_dataset(model, table)
    translation.prepare(model, dataset)
    return translation.batches_of(model, dataset, count)


def test_pairs_are_told_to_joeynmt_in_its_own_codes(small: pl.DataFrame) -> None:
    alike, mixed = batches(small, 3)
    for batch in (*alike, *mixed):
        source, target = translation.as_joeynmt(batch)
        for row, length in enumerate(batch.lengths.tolist()):
            read = [*(batch.inputs["de"][row, :length, 0] + 1).tolist(), Mark.END]  # no mark stands in a source
            assert source[row].tolist() == [*read, *[Mark.PADDING] * (source.shape[1] - len(read))]
            known = batch.targets["en"][row][batch.targets["en"][row] >= 0].tolist()
            assert known[-1] == translation.END
            written = [Mark.BEGIN, *(code + 1 for code in known[:-1]), Mark.END]
            assert target[row].tolist() == [*written, *[Mark.PADDING] * (target.shape[1] - len(written))]


def test_batches_of_ours_hold_pairs_of_like_length(small: pl.DataFrame) -> None:
    def padding(found: list[Batch]) -> float:
        return sum(int((batch.targets["en"] < 0).sum()) for batch in found) / len(found)

    alike, mixed = batches(small, 5)
    assert padding(alike) < 0.6 * padding(mixed)


# Answers as benchmarks/joeynmt_steps.py does, without learning anything.
STAND_IN = """
import json, sys, numpy as np
batches = np.load(sys.argv[1])
print(json.dumps({"joeynmt": "none", "torch": "none", "weights": 7}), flush=True)
for line in sys.stdin:
    target = batches[f"target-{int(line)}"]
    tokens = int((target[:, 1:] != 1).sum()) + EXTRA
    print(json.dumps({"seconds": 0.5, "tokens": tokens, "loss": 1.0}), flush=True)
"""


def stand_in(path: Path, monkeypatch: pytest.MonkeyPatch, extra: int) -> None:
    path.write_text(STAND_IN.replace("EXTRA", str(extra)))
    monkeypatch.setattr(translation, "STEPS", path)


def test_a_translation_is_timed_beside_joeynmt(
    small: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path / "steps.py", monkeypatch, 0)
    found = translation.measure(small, batches=2, threads=1, python=Path(sys.executable))
    table = found["contenders"]
    assert list(table) == [*translation.CONTENDERS, translation.RIVAL, translation.RIVAL_ALONE]
    assert found["rival"] == {"joeynmt": "none", "torch": "none"}
    assert table[translation.RIVAL]["weights"] == 7
    for row in table.values():
        for rival in (translation.RIVAL, translation.RIVAL_ALONE):
            assert row[f"times {rival}"] == row["tokens_per_second"] / table[rival]["tokens_per_second"]
    assert table["additive"]["last_loss"] > 1
    alone = translation.measure(small, batches=1, threads=1, python=None)
    assert list(alone["contenders"]) == list(translation.CONTENDERS)


def test_a_rival_that_learns_other_tokens_is_refused(
    small: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path / "steps.py", monkeypatch, 1)
    with pytest.raises(SystemExit, match="do not learn the same tokens"):
        translation.measure(small, batches=1, threads=1, python=Path(sys.executable))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise SystemExit('no joeynmt here')", "could not run JoeyNMT, and said: no joeynmt here; see --help"),
        ("print('{\"weights\": 7}', flush=True); raise SystemExit('no more')", "and said: no more; see --help"),
        (None, "python cannot be started: No such file or directory; see --help"),
    ],
)
def test_an_environment_without_joeynmt_is_named(
    small: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str | None, message: str
) -> None:
    (tmp_path / "steps.py").write_text(code or "")
    monkeypatch.setattr(translation, "STEPS", tmp_path / "steps.py")
    python = Path(sys.executable) if code else tmp_path / "python"
    with pytest.raises(SystemExit, match=message):
        translation.measure(small, batches=1, threads=1, python=python)
