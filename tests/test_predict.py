"""Predictions: feeding blocks back, parts of different lengths, and a horizon of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import seqloom
from catalogue import BY_NAME, build
from flows import daily, forecast_recipe
from seqloom.batch import cut
from seqloom.errors import DataError, RecipeError, UsageError
from seqloom.outputs.forecast import Forecast
from seqloom.outputs.output import Places
from seqloom.predict import PATHS, answer, feed_back
from seqloom.recipe import parse_recipe

FORECAST = BY_NAME["forecast-series-all-gru"]


def test_one_block_is_the_direct_answer() -> None:
    """Fed back or not: the first block is read from the same state."""
    built = build(FORECAST)
    output = built.model.outputs["coming"]
    assert isinstance(output, Forecast)
    places = built.places.take(np.arange(3))
    direct = answer(built.model, built.encoded, places).values["coming"]
    output.block = 1
    stepwise = answer(built.model, built.encoded, places).values["coming"]
    assert stepwise.shape == direct.shape
    # The median over paths of the first step is that of the model, up to the spacing of the paths.
    spread = direct[:, 0, :, 2] - direct[:, 0, :, 0]
    assert (np.abs(stepwise[:, 0, :, 1] - direct[:, 0, :, 1]) <= spread * 3 / PATHS + 1e-6).all()
    assert (np.diff(stepwise, axis=-1) >= 0).all()


@pytest.mark.parametrize(("block", "start"), [(1, 5), (2, 4), (3, 3)])
def test_feeding_back_reads_its_own_answers(block: int, start: int) -> None:
    """With quantiles in one place, each block is the direct answer after a history that holds the blocks before."""
    built = build(BY_NAME["forecast-series-category"])
    model = built.model
    output = model.outputs["coming"]
    assert isinstance(output, Forecast)
    assert model.inputs["past"].lags == [2, 5]
    with torch.no_grad():
        last = output.decoder[-1]
        last.weight.copy_(last.weight.reshape(2, 3, -1)[:, :1].expand(2, 3, -1).reshape(6, -1))
        last.bias.copy_(last.bias.reshape(2, 3)[:, :1].expand(2, 3).reshape(6))
    output.block = block
    place = Places(*(np.array([value]) for value in (0, 31, 40, 46)))
    batch = cut(built.encoded, place, model.inputs, {})
    found = answer(model, built.encoded, place).values["coming"]
    assert np.ptp(found, axis=-1).max() < 1e-4
    told = {**built.encoded.inputs, "past": built.encoded.inputs["past"].clone()}
    told["past"][40 : 40 + start] = torch.from_numpy(found[0, :start, :, 1])
    told["mood"] = told["mood"].clone()
    told["mood"][40 : 40 + start] = int(model.inputs["mood"].missing)
    later = Places(*(np.array([value]) for value in (0, 31, 40 + start, 46)))
    fresh = cut(built.encoded._replace(inputs=told), later, model.inputs, {}, batch.scales)
    with torch.no_grad():
        expected = output.answers(model(fresh)["coming"], batch.scales["past"])
    np.testing.assert_allclose(found[0, start : start + block], expected[0, :block], rtol=1e-4, atol=1e-3)


def test_paths_are_drawn_alike_every_time() -> None:
    built = build(FORECAST)
    built.model.outputs["coming"].block = 1  # type: ignore[assignment]
    places = built.places.take(np.array([1, 2, 4]))
    first = answer(built.model, built.encoded, places).values["coming"]
    torch.rand(5)
    assert np.array_equal(first, answer(built.model, built.encoded, places).values["coming"])


def test_a_model_that_reads_backwards_cannot_feed_back() -> None:
    built = build(BY_NAME["forecast-series-both-ways"])
    output = built.model.outputs["coming"]
    assert isinstance(output, Forecast)
    batch = cut(built.encoded, built.places.take(np.array([2])), built.model.inputs, {})
    message = r"backwards too \(core.bidirectional: true\) cannot read its own forecasts back: answer the whole horizon"
    with pytest.raises(RecipeError, match=message):
        feed_back(built.model, output, batch)


def test_answers_come_in_the_order_of_the_places() -> None:
    built = build(FORECAST)
    order = np.array([7, 0, 3, 3, 9])
    every = answer(built.model, built.encoded, built.places).values["coming"]
    some = answer(built.model, built.encoded, built.places.take(order)).values["coming"]
    np.testing.assert_allclose(some, every[order], atol=1e-5)
    labels = build(BY_NAME["labels-examples-all-lstm"])
    one = answer(labels.model, labels.encoded, labels.places.take(np.array([1]))).values["tags"]
    assert one.shape[1] == 1
    assert answer(labels.model, labels.encoded, labels.places.take(np.array([], np.int64))).values["tags"].size == 0


@pytest.fixture(scope="module")
def trained() -> seqloom.Trained:
    return seqloom.fit(parse_recipe(forecast_recipe(steps=2)), daily())


def test_frames_of_polars_and_pandas_and_files_agree(trained: seqloom.Trained, tmp_path: Path) -> None:
    frame = daily(coming=4)
    expected = trained.predict(frame)
    table = tmp_path / "data.parquet"
    frame.write_parquet(table)
    for data in (table, str(table), frame.to_pandas()):
        assert trained.predict(data).equals(expected)


def test_a_horizon_of_one_s_own(trained: seqloom.Trained) -> None:
    frame = daily(coming=6)
    assert trained.predict(frame, horizon=2)["step"].to_list() == [1, 2] * 2
    assert trained.predict(frame, horizon=6)["step"].to_list() == [1, 2, 3, 4, 5, 6] * 2
    for horizon in (0, -1):
        with pytest.raises(UsageError, match=f"horizon is {horizon}; expected 1 or more"):
            trained.predict(frame, horizon=horizon)
    with pytest.raises(DataError, match=r"column 'promo' is declared known ahead, .* \(1 of 7 coming steps\)"):
        trained.predict(frame, horizon=7)


def test_a_missing_column_is_named(trained: seqloom.Trained) -> None:
    with pytest.raises(DataError, match="'rain'"):
        trained.predict(daily(coming=4).drop("rain"))
    with pytest.raises(DataError, match="'ds'"):
        trained.predict(daily(coming=4).drop("ds"))
