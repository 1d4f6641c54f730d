"""Streaming: any cutting of a sequence, state carried, gives what the whole gives."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from catalogue import CASES, CELLS, Case, build
from seqloom.batch import Batch, cut, encode
from seqloom.dataset import coming_places, read_dataset
from seqloom.errors import StreamingError, UsageError
from seqloom.inputs.input import Role
from seqloom.model import ModelState, SequenceModel
from seqloom.predict import answer
from seqloom.state import map_state, to_bytes
from seqloom.stream import Stream

CAUSAL = [case for case in CASES if case.causal]
SERIES = [case for case in CAUSAL if case.table == "series" and "-all-" in case.name]
OWN_TO_FORECAST = [case for case in SERIES if case.name.startswith("forecast")]
LABELS = [case for case in SERIES if case.name.startswith("labels")]
STATIC = {"region": "north", "capacity": 4.0}
by_name = {"ids": lambda case: case.name}


def one_shop(shop: str = "gaps") -> pl.DataFrame:
    """The past and the coming days of one series, without holes in its dates."""
    frame = next(case for case in CASES if case.table == "series").frame().filter(pl.col("shop") == shop)
    return frame.with_columns(pl.col("date").str.to_date()).sort("date").upsample("date", every="1d")


def past_and_coming() -> tuple[pl.DataFrame, pl.DataFrame]:
    frame = one_shop()
    return frame[:-3], frame[-3:]


def pieces(frame: pl.DataFrame, edges: list[int]) -> list[pl.DataFrame]:
    """The frame cut at the edges."""
    places = [0, *edges, len(frame)]
    return [frame[a:b] for a, b in itertools.pairwise(places)]


def assert_close(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    assert found
    for name, values in expected.items():
        assert np.isfinite(values).all()
        np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-9)


def read_in_chunks(model: SequenceModel, batch: Batch, edges: list[int]) -> tuple[list[Tensor], ModelState]:
    """What a front end and its core make of each row of a batch that they read piece by piece, and the state."""
    state = model.initial_state(len(batch.lengths))
    rows: list[list[Tensor]] = [[] for _ in batch.lengths]
    places = [0, *edges, int(batch.lengths.max())]
    sizes = [b - a for a, b in itertools.pairwise(places)]
    for k, chunk in enumerate(model.join(batch).split(sizes)):
        shorter, front = model.front(chunk, state.front, final=k + 1 == len(sizes))
        output, core = model.core(shorter, state.core)
        state = ModelState(front, core)
        for row, part in zip(rows, output.unpad(), strict=True):
            row.append(part)
    return [torch.cat(parts) for parts in rows], state


@pytest.mark.parametrize("case", [case for case in CASES if not case.core.get("bidirectional")], **by_name)
def test_a_model_reads_ragged_batches_in_any_chunks(case: Case) -> None:
    """A front end that shortens or looks ahead too: what it kept back comes with the last chunk."""
    built = build(case)
    batch = cut(built.encoded, built.places, built.model.inputs, {})
    whole, final = built.model.read(batch)

    @given(st.lists(st.integers(0, int(batch.lengths.max())), max_size=5))
    def holds(edges: list[int]) -> None:
        rows, state = read_in_chunks(built.model, batch, sorted(edges))
        for found, expected in zip(rows, whole.states.unpad(), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
        map_state(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=1e-10) or a, state, final)

    holds()


@pytest.mark.parametrize("case", OWN_TO_FORECAST, **by_name)
def test_forecasts_do_not_depend_on_how_the_rest_arrived(case: Case) -> None:
    """Own scale, lags, known-ahead, categories, dates: after an equal first piece any cuts agree."""
    model = build(case).model
    past, coming = past_and_coming()
    first = 12
    whole = Stream(model, static=STATIC)
    whole.push(past[:first])
    whole.push(past[first:])
    expected = whole.forecast(coming)

    @given(st.lists(st.integers(first, len(past)), max_size=6))
    def holds(edges: list[int]) -> None:
        stream = Stream(model, static=STATIC)
        for piece in pieces(past, [first, *sorted(edges)]):
            stream.push(piece)
        assert_close(stream.forecast(coming), expected)

    holds()


@pytest.mark.parametrize("case", OWN_TO_FORECAST, **by_name)
def test_a_stream_forecasts_as_one_whole_read_does(case: Case) -> None:
    """Beside the path that reads tables: the same history, no limit to the context."""
    built = build(case)
    past, coming = past_and_coming()
    static = {"shop": "gaps", "region": "north", "capacity": 4.0}
    frame = pl.concat([past, coming]).with_columns(**{name: pl.lit(value) for name, value in static.items()})
    recipe = built.model.recipe
    built.model.recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"context_length": None})})
    dataset = read_dataset(built.model, frame, learn=False)
    places = coming_places(built.model, dataset)
    expected = answer(built.model, encode(dataset.segments, built.model.inputs, built.model.outputs), places).values
    stream = Stream(built.model, static=STATIC)
    stream.push(past[: int(places.origin[0])])
    assert int(places.origin[0]) == len(past)
    assert_close(stream.forecast(coming), {name: values[0] for name, values in expected.items()})


@pytest.mark.parametrize("case", LABELS, **by_name)
def test_labels_step_by_step_are_those_of_the_whole(case: Case) -> None:
    model = build(case).model
    # The scale of the series is that of the training part, so that no piece is special.
    model.inputs["past"].scaled_by_own_past = False
    past, _ = past_and_coming()
    expected = Stream(model, static=STATIC).push(past)
    assert expected["phase"].shape == (len(past), 3)

    @given(st.lists(st.integers(0, len(past)), max_size=8))
    def holds(edges: list[int]) -> None:
        stream = Stream(model, static=STATIC)
        parts = [stream.push(piece)["phase"] for piece in pieces(past, sorted(edges))]
        assert_close({"phase": np.concatenate(parts)}, expected)

    holds()


@pytest.mark.parametrize("case", SERIES, **by_name)
def test_the_state_neither_grows_nor_is_shared(case: Case) -> None:
    model = build(case).model
    past, _ = past_and_coming()
    stream = Stream(model, static=STATIC)
    sizes, states = set(), []
    for piece in pieces(past, [1, 2, 9, 30]):
        stream.push(piece)
        states.append(stream.state)
        sizes.add(len(to_bytes(stream.state)))
    assert len(sizes) == 1
    again = Stream(model, states[1], static=STATIC)
    again.push(past[2:9])
    assert to_bytes(again.state) == to_bytes(states[2])
    assert to_bytes(states[2]) != to_bytes(states[3])


@pytest.mark.parametrize("case", OWN_TO_FORECAST, **by_name)
def test_forecasting_leaves_the_stream_where_it_is(case: Case) -> None:
    model = build(case).model
    past, coming = past_and_coming()
    stream = Stream(model, static=STATIC)
    stream.push(past)
    before = to_bytes(stream.state)
    first = stream.forecast(coming)
    assert to_bytes(stream.state) == before
    assert_close(stream.forecast(coming), first)


def test_the_first_piece_sets_the_scale() -> None:
    """What the promise excludes: own scales come from the first push."""
    model = build(OWN_TO_FORECAST[0]).model
    past, coming = past_and_coming()
    short, long = Stream(model, static=STATIC), Stream(model, static=STATIC)
    short.push(past[:5])
    short.push(past[5:])
    long.push(past)
    assert abs(short.forecast(coming)["coming"] - long.forecast(coming)["coming"]).max() > 1e-3


@pytest.mark.parametrize("case", [case for case in CASES if not case.causal], **by_name)
def test_a_model_that_waits_for_later_steps_refuses(case: Case) -> None:
    built = build(case)
    reason = r"backwards too \(core\.bidirectional: true\)"
    if "front" in case.core:
        reason = r"looks at later steps in its front end \(core\.front\.0\.causal: false\)"
    with pytest.raises(StreamingError, match=f"{reason}, so its answers wait for later steps"):
        Stream(built.model)


def test_asking_before_anything_was_pushed() -> None:
    model = build(OWN_TO_FORECAST[0]).model
    with pytest.raises(UsageError, match="nothing was pushed yet; push the history before asking for a forecast"):
        Stream(model, static=STATIC).forecast(past_and_coming()[1])


def test_a_missing_static_value_is_named() -> None:
    model = build(OWN_TO_FORECAST[0]).model
    with pytest.raises(UsageError, match=r"static columns \['capacity'\] have no value, got \['region'\]"):
        Stream(model, static={"region": "north"})


def test_lags_reach_back_across_pieces() -> None:
    """A lag longer than every piece still finds its value."""
    case = OWN_TO_FORECAST[0]
    model = build(case).model
    assert model.longest_lag == 5
    past, coming = past_and_coming()
    single = Stream(model, static=STATIC)
    single.push(past[:10])
    for k in range(10, len(past)):
        single.push(past[k : k + 1])
    changed = past.with_columns(
        pl.when(pl.col("date") == pl.lit(past["date"][-5])).then(999.0).otherwise(pl.col("sales")).alias("sales")
    )
    other = Stream(model, static=STATIC)
    other.push(changed[:10])
    other.push(changed[10:])
    assert abs(single.forecast(coming)["coming"] - other.forecast(coming)["coming"]).max() > 1e-3
    assert any(input.lags for input in model.inputs.values() if input.role is Role.PAST)
    assert set(CELLS) >= {case.core["cell"]}
