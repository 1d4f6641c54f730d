"""The scripts in `benchmarks/` run, at sizes that only show that; others are run by tests of what they measure."""

from __future__ import annotations

import math

import front_end
import pytest
import translation


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


def test_the_tokens_of_a_translation_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ROWS": 16, "WORDS": 50, "SIZE": 8}.items():
        monkeypatch.setattr(translation, name, value)
    table = translation.made_up(80)
    for name in ("additive", "multiplicative, input feeding"):
        model = translation.declared(translation.CONTENDERS[name], 1)
        rate = translation.tokens_per_second(model, translation.read_dataset(model, table), 1)
        assert math.isfinite(rate)
        assert rate > 0
