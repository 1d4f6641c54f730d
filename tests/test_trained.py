"""What `fit` and `predict` refuse instead of passing over it."""

from __future__ import annotations

from pathlib import Path

import pytest

import seqloom
from flows import daily, forecast_recipe
from seqloom.errors import UsageError
from seqloom.model import SequenceModel
from seqloom.recipe import parse_recipe
from seqloom.trained import Trained


def test_overrides_beside_a_finished_recipe() -> None:
    recipe = parse_recipe(forecast_recipe())
    with pytest.raises(UsageError, match=r"overrides \['training.steps=1'\] apply to recipe files"):
        seqloom.fit(recipe, daily(), overrides=["training.steps=1"])


def test_a_horizon_where_nothing_is_forecast() -> None:
    model = SequenceModel(parse_recipe({"inputs": {"x": {"kind": "series"}}, "outputs": {"y": {"kind": "number"}}}))
    model.assume()
    with pytest.raises(UsageError, match="horizon is 3, but output 'y' is no forecast"):
        Trained(model, {}).predict(Path("never-read.csv"), horizon=3)
