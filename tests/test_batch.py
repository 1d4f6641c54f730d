"""Batches: what a window may see, lag by lag and step by step."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch

from catalogue import BY_NAME
from seqloom.batch import cut, encode
from seqloom.dataset import read_dataset
from seqloom.model import SequenceModel
from seqloom.outputs.output import Places
from seqloom.recipe import parse_recipe

NAN = float("nan")


def counting(lags: list[int], horizon: int = 3) -> tuple[SequenceModel, pl.DataFrame]:
    """A model whose target counts the days from 0, beside a past and a known column that count from 100 and 200."""
    recipe = {
        "data": {"time": "ds", "split": {"valid": 5, "test": 5}},
        "inputs": {
            "past": {"kind": "series", "columns": ["y"], "lags": lags},
            "rain": {"kind": "series"},
            "promo": {"kind": "series", "role": "known"},
        },
        "outputs": {"coming": {"kind": "forecast", "columns": ["y"], "horizon": horizon}},
    }
    days = [f"2024-01-{day:02}" for day in range(1, 31)]
    frame = pl.DataFrame({"ds": days, "y": [float(k) for k in range(30)]})
    frame = frame.with_columns(rain=(pl.col("y") * 7) % 11 + 100, promo=(pl.col("y") * 5) % 13 + 200)
    return SequenceModel(parse_recipe(recipe)), frame


def window(lags: list[int], start: int, origin: int) -> dict[str, list[list[float]]]:
    model, frame = counting(lags)
    dataset = read_dataset(model, frame)
    model.fit({"past": np.arange(30.0), "rain": np.arange(30.0), "promo": np.arange(30.0)}, {"coming": np.arange(30.0)})
    encoded = encode(dataset.segments, model.inputs, model.outputs)
    places = Places(*(np.array([value]) for value in (0, start, origin, origin + 3)))
    batch = cut(encoded, places, model.inputs, model.outputs)
    return {name: values[0].tolist() for name, values in {**batch.inputs, "target": batch.targets["coming"]}.items()}


def test_the_past_is_hidden_and_what_is_known_stays() -> None:
    found = window([], 10, 12)
    assert str(found["past"]) == str([[10.0], [11.0], [NAN], [NAN], [NAN]])
    assert str(found["rain"]) == str([[k * 7 % 11 + 100.0] for k in (10, 11)] + [[NAN]] * 3)
    assert found["promo"] == [[k * 5 % 13 + 200.0] for k in (10, 11, 12, 13, 14)]
    assert found["target"] == [[12.0], [13.0], [14.0]]


def test_lags_reach_before_the_window_but_never_past_the_origin() -> None:
    """Coming steps 12, 13, 14 of a lag of 2 take 10, 11 and, as 12 is not known, 10 again."""
    found = window([2, 7], 10, 12)
    assert [row[1] for row in found["past"]] == [8.0, 9.0, 10.0, 11.0, 10.0]
    assert [row[2] for row in found["past"]] == [3.0, 4.0, 5.0, 6.0, 7.0]


def test_lags_before_the_series_begins_are_missing() -> None:
    found = window([2], 0, 3)
    assert str([row[1] for row in found["past"]]) == str([NAN, NAN, 0.0, 1.0, 2.0, 1.0])
    cold = window([2], 0, 0)
    assert str([row[1] for row in cold["past"]]) == str([NAN, NAN, NAN])


def test_own_scales_see_the_past_only() -> None:
    model, frame = counting([])
    model.inputs["past"].scaled_by_own_past = True
    dataset = read_dataset(model, frame)
    model.fit({"past": np.arange(30.0), "rain": np.arange(30.0), "promo": np.arange(30.0)}, {"coming": np.arange(30.0)})
    encoded = encode(dataset.segments, model.inputs, model.outputs)
    places = Places(*(np.array([value]) for value in (0, 10, 12, 15)))
    scale = cut(encoded, places, model.inputs, {}).scales["past"]
    assert (float(scale.loc), float(scale.spread)) == (10.5, 0.5)


def test_neighbours_in_the_table_are_never_read() -> None:
    """The last window of one series ends where the next begins; another series there changes nothing."""
    case = BY_NAME["forecast-series-all-gru"]
    model = SequenceModel(parse_recipe(case.recipe()))
    frame = case.frame()
    found = []
    for other in ("gaps", "short"):
        dataset = read_dataset(model, frame.filter(pl.col("shop").is_in(["long", other])), learn=False)
        for input in model.inputs.values():
            input.fit(input.read(read_dataset(model, frame, learn=False).segments))
        encoded = encode(dataset.segments, model.inputs, {})
        places = Places(*(np.array([value]) for value in (0, 50, int(dataset.ends[0]), int(dataset.ends[0]) + 3)))
        found.append(cut(encoded, places, model.inputs, {}))
    for name, values in found[0].inputs.items():
        torch.testing.assert_close(values, found[1].inputs[name], equal_nan=True, rtol=0, atol=0)
