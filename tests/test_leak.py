"""The leak test: an input that peeks at the future is caught, and honest models pass."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from catalogue import CASES, Case, build
from flows import Outcome, daily, forecast_recipe, write
from seqloom.data.segments import Column, Segments
from seqloom.errors import LeakError
from seqloom.inputs.input import Role
from seqloom.inputs.series import Series
from seqloom.leak import LeakTest, leak_test, perturb, require_no_leak

FORECASTS = [case for case in CASES if case.name.startswith("forecast")]


class Peeking(Series):
    """Shows at each step the target three steps later, and says that this was known."""

    def read(self, segments: Segments) -> Column:
        """The target, shifted."""
        values = np.asarray(segments.steps["y"]).astype(np.float64)
        return np.append(values[3:], [0.0] * 3).reshape(-1, 1)


class LooseRole(Peeking):
    """Reads the target unshifted, as known ahead."""

    def read(self, segments: Segments) -> Column:
        """The target itself."""
        return np.asarray(segments.steps["y"]).astype(np.float64).reshape(-1, 1)

    @property
    def role(self) -> Role:
        """Known, which is a lie."""
        return Role.KNOWN


@pytest.mark.parametrize("case", FORECASTS, ids=lambda case: case.name)
def test_honest_models_pass(case: Case) -> None:
    """Past, lagged, known-ahead, static and calendar inputs, cells of all kinds, both directions."""
    built = build(case)
    found = leak_test(built.model, built.dataset.segments, built.places)
    assert found == LeakTest(True, 8, 0.0)
    require_no_leak(found)


def peeking_recipe(name: str) -> dict[str, Any]:
    recipe = forecast_recipe()
    recipe["inputs"]["oracle"] = {"kind": f"test_leak_inputs:{name}", "role": "past", "columns": ["rain"]}
    return recipe


@pytest.mark.parametrize("name", ["Peeking", "LooseRole"])
def test_a_planted_leak_is_caught_by_evaluate(
    name: str, tmp_path: Path, cli: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, no_auto_ets: None
) -> None:
    module = types.ModuleType("test_leak_inputs")
    for one in (Peeking, LooseRole):
        setattr(module, one.__name__, one)
    monkeypatch.setitem(sys.modules, "test_leak_inputs", module)
    recipe_file, table = write(tmp_path, peeking_recipe(name), daily())
    assert cli("train", recipe_file, "--data", table, "-o", tmp_path / "run").code == 0
    found = cli("evaluate", tmp_path / "run", "--trust", f"test_leak_inputs:{name}")
    assert found.code == 1
    assert "error: forecasts moved by up to " in found.err
    assert found.err.endswith("an input shows the future: look for one whose role should be past instead of known")


def test_the_message_says_how_far_forecasts_moved() -> None:
    with pytest.raises(LeakError, match=r"forecasts moved by up to 0\.25 when values after the origin were changed"):
        require_no_leak(LeakTest(False, 8, 0.25))


def test_everything_unknowable_is_changed_from_the_origin_on() -> None:
    segments = build(FORECASTS[-1]).dataset.segments
    steps = int(segments.offsets[1])
    one = Segments(
        segments.ids[:1],
        segments.offsets[:2],
        {name: column[:steps] for name, column in segments.steps.items()},
        segments.static,
        None if segments.times is None else segments.times[:steps],
        segments.frequency,
    )
    changed = perturb(one, 40, {"promotion", "event"})
    for name, column in one.steps.items():
        other = changed.steps[name]
        assert all(same(a, b) for a, b in zip(column[:40].tolist(), other[:40].tolist(), strict=True))
        moved = [not same(a, b) for a, b in zip(column[40:].tolist(), other[40:].tolist(), strict=True)]
        assert not any(moved) if name in ("promotion", "event") else any(moved)
        if column.dtype != object and name not in ("promotion", "event"):
            assert all(moved)
    torch.testing.assert_close(torch.tensor(changed.offsets), torch.tensor(one.offsets))


def same(a: object, b: object) -> bool:
    return a == b or (a != a and b != b)
