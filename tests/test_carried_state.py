"""Forecasts that carry the state from origin to origin, beside those that read everything anew."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from seqloom.batch import cut, encode
from seqloom.dataset import Dataset, part_places, read_dataset
from seqloom.fitting import prepare
from seqloom.model import SequenceModel
from seqloom.outputs.output import Places
from seqloom.predict import answer
from seqloom.recipe import parse_recipe
from seqloom.stream import Stream


def days(count: int = 120) -> pl.DataFrame:
    random = np.random.default_rng(0)
    start = np.datetime64("2024-01-01")
    frames = [
        pl.DataFrame(
            {
                "unique_id": [name] * count,
                "ds": (start + np.arange(count)).astype("datetime64[us]"),
                "y": 10 + 3 * np.sin(np.arange(count) / 7 * 2 * np.pi) + random.normal(size=count),
            }
        )
        for name in ("a", "b")
    ]
    return pl.concat(frames)


def whole_history(cell: str, **output: object) -> tuple[SequenceModel, Dataset]:
    recipe = parse_recipe(
        {
            "data": {"time": "ds", "id": "unique_id", "split": {"valid": 20, "test": 30, "stride": 3}},
            "inputs": {
                "y": {"kind": "series", "scale": "own", "lags": [7]},
                "calendar": {"kind": "calendar", "features": ["day_of_week"]},
            },
            "core": {"cell": cell, "hidden_size": 6, "num_layers": 2},
            "outputs": {"y": {"kind": "forecast", "horizon": 5, **output}},
        }
    )
    model = SequenceModel(recipe)
    dataset = read_dataset(model, days())
    prepare(model, dataset)
    for weight in model.parameters():  # a decoder that starts at zero would hide what the core does
        torch.nn.init.normal_(weight, std=0.4)
    return model, dataset


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_carried_state_gives_what_reading_everything_anew_gives(cell: str) -> None:
    model, dataset = whole_history(cell)
    places = part_places(model, dataset, "test")
    shuffled = places.take(np.random.default_rng(1).permutation(len(places.segment)))
    encoded = encode(dataset.segments, model.inputs, {})
    found = answer(model, encoded, shuffled)
    anew = cut(encoded, shuffled, model.inputs, {}, found.scales)
    with torch.no_grad():
        expected = model.outputs["y"].answers(model(anew)["y"], found.scales["y"])
    np.testing.assert_allclose(found.values["y"], expected, rtol=1e-5)


def test_the_scale_is_that_of_the_history_before_the_first_origin() -> None:
    model, dataset = whole_history("gru")
    places = part_places(model, dataset, "test")
    found = answer(model, encode(dataset.segments, model.inputs, {}), places)
    y = dataset.segments.steps["y"]
    for row, segment in enumerate(places.segment):
        first = int(places.origin[places.segment == segment].min())
        start = int(dataset.segments.offsets[segment])
        assert float(found.scales["y"].loc[row, 0]) == pytest.approx(float(y[start : start + first].mean()))


def test_each_step_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, dataset = whole_history("gru")
    places = part_places(model, dataset, "test")
    read: list[int] = []
    original = SequenceModel.read

    def counted(self: SequenceModel, batch, state=None):  # type: ignore[no-untyped-def]
        read.append(int(batch.lengths.sum()))
        return original(self, batch, state)

    monkeypatch.setattr(SequenceModel, "read", counted)
    answer(model, encode(dataset.segments, model.inputs, {}), places)
    last = sum(int(places.origin[places.segment == segment].max()) for segment in range(2))
    assert sum(read) == last + 5 * len(places.segment)


def test_blocks_are_fed_back_from_the_carried_state() -> None:
    model, dataset = whole_history("lstm", block=2)
    places = part_places(model, dataset, "test")
    one = places.take(slice(0, 1))
    encoded = encode(dataset.segments, model.inputs, {})
    carried = answer(model, encoded, places).values["y"][:1]
    limited = model.recipe.data.model_copy(update={"context_length": 10_000})
    model.recipe = model.recipe.model_copy(update={"data": limited})
    anew = answer(model, encoded, Places(*one)).values["y"]
    np.testing.assert_allclose(carried, anew, rtol=1e-5)


def test_a_stream_feeds_its_blocks_back_as_well() -> None:
    model, dataset = whole_history("lstm", block=2)
    place = part_places(model, dataset, "test").take(slice(0, 1))
    expected = answer(model, encode(dataset.segments, model.inputs, {}), place).values["y"][0]
    frame, origin = days().filter(unique_id="a"), int(place.origin[0])
    stream = Stream(model)
    stream.push(frame[:origin])
    found = stream.forecast(frame[origin : origin + 5].with_columns(y=pl.lit(None, dtype=pl.Float64)))
    np.testing.assert_allclose(found["y"], expected, rtol=1e-5)
