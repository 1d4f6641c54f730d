"""The benchmark of the language model: contenders that compute the same, and figures that follow from their times."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import language_model
import pytest
import torch
from language_model import RIVAL, lessons, made_up, pieces, plain_like, require_same, summary

SMALL = ["core.hidden_size=16", "inputs.words.size=12", "training.batch_size=4", "training.tbptt_steps=7"]


def test_a_smaller_text_runs_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command itself, with small sizes, on files as the recipe's `prepare.py` writes them."""
    made_up(2000, 50).write_ndjson(tmp_path / "words.jsonl")
    measure = language_model.measure
    monkeypatch.setattr(language_model, "measure", lambda table, _, **more: measure(table, SMALL, **more))
    target = tmp_path / "figures.json"
    monkeypatch.setattr(sys, "argv", ["", "--data", str(tmp_path), "--steps", "3", "--json", str(target)])
    language_model.main()
    found = json.loads(target.read_text())
    assert (found["steps_per_epoch"], found["steps"], found["threads"]) == (72, 3, 1)  # ceil(ceil(2000 / 7) / 4)
    assert list(found["contenders"]) == ["seqloom", RIVAL, "seqloom, bfloat16", f"{RIVAL}, bfloat16"]
    for row in found["contenders"].values():
        assert 0 < row["quartile_1"] <= row["seconds_per_step"] <= row["quartile_3"] < 60
        assert row["seconds_per_epoch_extrapolated"] == pytest.approx(72 * row["seconds_per_step"])
        assert math.isfinite(row[f"times_faster_than_{RIVAL}"])
    assert found["contenders"][RIVAL][f"times_faster_than_{RIVAL}"] == 1
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("name", ["bias", "lstm.weight_hh_l0", "embedding.weight"])
def test_a_contender_that_computes_something_else_is_refused(name: str) -> None:
    streams = lessons(made_up(2000, 50), [*SMALL, "training.precision=float32"])
    plain, text = plain_like(streams), pieces(streams, 1)
    require_same(streams, plain, text)
    plain.zero_grad()
    streams.model.zero_grad()
    with torch.no_grad():
        plain.get_parameter(name).mul_(1.1)
    with pytest.raises(SystemExit, match="error: the contenders differ in the "):
        require_same(streams, plain, text)


def test_a_summary_is_of_the_middle_half() -> None:
    found = summary([1.0, 2.0, 3.0, 4.0, 100.0], per_epoch=10)
    assert (found["quartile_1"], found["seconds_per_step"], found["quartile_3"]) == (2, 3, 4)
    assert found["seconds_per_epoch_extrapolated"] == 30


def test_every_word_stands_in_the_text() -> None:
    table = made_up(2000, 50)
    assert set(table["words"][0]) == {f"w{k}" for k in range(50)}
    assert len(table["words"][0]) == 2000
