"""Truncated backpropagation: what each row reads, the state it carries, and validation in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqloom import fitting, predict
from seqloom.batch import cut, encode
from seqloom.dataset import part_places, read_dataset
from seqloom.errors import DataError, RecipeError
from seqloom.fitting import prepare, validation_places
from seqloom.model import SequenceModel
from seqloom.outputs.output import Places
from seqloom.recipe import parse_recipe
from seqloom.state import map_state
from seqloom.training.lessons import Material
from seqloom.training.measure import measure
from seqloom.training.streams import Line, Streams


def places_of(lengths: list[int]) -> Places:
    """Places of so many steps, each beginning three steps into its segment."""
    start = np.full(len(lengths), 3, np.int64)
    end = start + np.array(lengths, np.int64)
    return Places(np.arange(len(lengths)), start, end, end)


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=9).filter(any),
    st.integers(1, 12),
    st.integers(1, 6),
    st.integers(0, 99),
)
def test_an_epoch_reads_every_step_once_and_rows_read_on(lengths: list[int], steps: int, rows: int, seed: int) -> None:
    line = Line(places_of(lengths), steps=steps, rows=rows, seed=seed)
    for epoch in (0, 1):
        seen = [np.zeros(length, int) for length in lengths]
        breaks = 0
        for row in range(line.rows):
            source, end = -1, -1
            for turn in range(line.batches):
                pieces = line.pieces(epoch * line.batches + turn)
                segment, first, origin, stop = (int(part[row]) for part in pieces.places)
                if first == stop:
                    assert turn == line.batches - 1  # only the last batch of an epoch may lack a row
                    continue
                assert origin == stop
                assert stop - first <= steps
                assert segment == pieces.source[row]
                begins = first == 3
                assert bool(pieces.fresh[row]) == (begins or turn == 0)
                breaks += not begins and turn == 0
                if not begins and turn:
                    assert (segment, first) == (source, end)
                source, end = segment, stop
                seen[segment][first - 3 : stop - 3] += 1
        assert all((steps_seen == 1).all() for steps_seen in seen)
        assert breaks <= line.rows - 1


def test_one_long_sequence_keeps_every_row_busy() -> None:
    line = Line(places_of([1003]), steps=10, rows=4, seed=0)
    assert line.batches == 26  # 101 pieces in four stretches
    sizes = [(p.stop - p.start).tolist() for p in (line.pieces(k).places for k in range(26))]
    assert sizes[:25] == [[10, 10, 10, 10]] * 25
    assert sizes[25] == [0, 0, 0, 3]
    assert line.pieces(0).places.start.tolist() == [3, 253, 503, 753]


def test_sequences_without_any_step_are_refused() -> None:
    with pytest.raises(DataError, match="the 2 training sequences have no step at all; expected at least one"):
        Line(places_of([0, 0]), steps=5, rows=2, seed=1)


def test_the_order_is_drawn_anew_for_each_epoch() -> None:
    line = Line(places_of([5] * 30), steps=5, rows=2, seed=1)
    epochs = [[line.pieces(e * line.batches + k).source.tolist() for k in range(line.batches)] for e in range(2)]
    assert epochs[0] != epochs[1]
    same = Line(places_of([5] * 30), steps=5, rows=2, seed=1)
    assert epochs[0] == [same.pieces(k).source.tolist() for k in range(15)]


RECIPE: dict[str, Any] = {
    "data": {"split": {"column": "split"}},
    "inputs": {"x": {"kind": "series", "scale": "own", "lags": [3]}, "place": {"kind": "category"}},
    "core": {"cell": "lstm", "hidden_size": 5, "num_layers": 2},
    "outputs": {"tag": {"kind": "labels"}, "mood": {"kind": "labels", "weight": 0.5}},
    "training": {"tbptt_steps": 4, "batch_size": 3},
}


def table(lengths: tuple[int, ...] = (30, 0, 7, 1, 19, 12)) -> pl.DataFrame:
    """Sequences of numbers with two labels at each step, some of them missing."""
    random = np.random.default_rng(2)

    def tags(count: int) -> list[str | None]:
        return [f"t{k}" if k < 3 else None for k in random.integers(0, 4, count)]

    rows = [
        {
            "split": part,
            "place": f"p{k % 2}",
            "x": random.normal(10 * k, 3, n).tolist(),
            "tag": tags(n),
            "mood": tags(n),
        }
        for part in ("train", "valid", "test")
        for k, n in enumerate(lengths)
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


@pytest.fixture
def doubles() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def ready(**core: Any) -> tuple[SequenceModel, Material]:
    model = SequenceModel(parse_recipe({**RECIPE, "core": {**RECIPE["core"], **core}}))
    dataset = read_dataset(model, table())
    prepare(model, dataset)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    encoded = encode(dataset.segments, model.inputs, model.outputs)
    return model, Material(encoded, part_places(model, dataset, "train"), validation_places(model, dataset))


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("front", [[], [{"channels": 4, "kernel_size": 3}]], ids=["core", "front and core"])
def test_pieces_with_carried_state_lose_what_the_whole_loses(front: list[dict[str, int]]) -> None:
    """One row walks along all sequences; piece by piece the losses add up to those of sequences read whole."""
    model, material = ready(front=front)
    model.recipe = model.recipe.model_copy(
        update={"training": model.recipe.training.model_copy(update={"batch_size": 1})}
    )
    model.eval()
    streams = Streams(model, material)
    total, known = {"tag": 0.0, "mood": 0.0}, {"tag": 0, "mood": 0}
    for number in range(streams.line.batches):
        streams.learn(number, 1.0)
        ((batch, before),) = streams.reads(number)
        raw = model.decode(model.read(batch, before)[0])
        for name, output in model.outputs.items():
            count = output.known(batch.targets[name])
            total[name] += model.output_loss(name, raw[name], batch).item() * count
            known[name] += count
    batch = cut(material.encoded, material.train, model.inputs, model.outputs)
    raw = model(batch)
    for name in total:
        assert total[name] / known[name] == pytest.approx(model.output_loss(name, raw[name], batch).item(), rel=1e-12)


@pytest.mark.usefixtures("doubles")
def test_the_gradient_stops_where_the_piece_begins() -> None:
    model, material = ready()
    model.eval()
    streams = Streams(model, material)
    for number in range(3):
        model.zero_grad()
        before = map_state(torch.Tensor.clone, streams.after)
        loss = streams.learn(number, 0.25)
        found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
        model.zero_grad()
        pieces = streams.line.pieces(number)
        rows = [
            map_state(lambda leaf, k=k: leaf[k : k + 1], model.initial_state(3) if pieces.fresh[k] else before)
            for k in range(3)
        ]
        carried = map_state(lambda *leaves: torch.cat(leaves), *rows)
        ((batch, _),) = streams.reads(number)
        expected = model.loss(model.decode(model.read(batch, carried)[0]), batch)
        (0.25 * expected).backward()
        assert loss == pytest.approx(expected.item(), rel=1e-12)
        for name, weight in model.named_parameters():
            assert weight.grad is not None
            torch.testing.assert_close(found[name], weight.grad, rtol=1e-10, atol=1e-14)


def test_carried_state_goes_through_a_checkpoint_unchanged() -> None:
    model, material = ready()
    model.eval()
    streams, other = Streams(model, material), Streams(model, material)
    streams.learn(0, 1.0)
    other.restore(streams.tensors())
    assert streams.learn(1, 1.0) == other.learn(1, 1.0)
    assert streams.learn(2, 1.0) != Streams(model, material).learn(2, 1.0)


@pytest.mark.usefixtures("doubles")
def test_validation_in_chunks_is_validation_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Own scales, lags, unequal weights, missing labels, an empty row; and never more than so many steps at once."""
    model, material = ready()
    whole = measure(model, material.encoded, material.valid)
    read: list[int] = []
    original = SequenceModel.read

    def counted(self: SequenceModel, batch: Any, state: Any = None, *, final: bool = True) -> Any:
        read.append(max(values.shape[:2].numel() for values in batch.inputs.values() if values.dim() == 3))
        return original(self, batch, state, final=final)

    monkeypatch.setattr(SequenceModel, "read", counted)
    monkeypatch.setattr(predict, "CELLS", 40)
    chunks = measure(model, material.encoded, material.valid)
    assert max(read) <= 40
    assert len(read) == 5  # 30 steps, 6 at a time
    assert whole.keys() == chunks.keys() == {"loss", "tag accuracy", "mood accuracy"}
    for name, value in whole.items():
        assert chunks[name] == pytest.approx(value, rel=1e-12)


@pytest.mark.usefixtures("doubles")
def test_pooled_outputs_are_validated_in_chunks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pooled = {"kind": {"kind": "category", "columns": ["place"], "pooling": ["last", "mean", "max"]}}
    monkeypatch.setitem(RECIPE, "outputs", RECIPE["outputs"] | pooled)
    monkeypatch.setitem(RECIPE, "training", {})
    model, material = ready(front=[{"channels": 4, "kernel_size": 3}])
    whole = measure(model, material.encoded, material.valid)
    monkeypatch.setattr(predict, "CELLS", 40)
    chunks = measure(model, material.encoded, material.valid)
    assert whole.keys() == chunks.keys()
    for name, value in whole.items():
        assert chunks[name] == pytest.approx(value, rel=1e-12)


@pytest.mark.usefixtures("doubles")
def test_answers_in_chunks_are_answers_to_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    pooled = {"kind": {"kind": "category", "columns": ["place"], "pooling": ["last", "mean", "max"]}}
    monkeypatch.setitem(RECIPE, "outputs", RECIPE["outputs"] | pooled)
    monkeypatch.setitem(RECIPE, "training", {})
    model, material = ready()
    whole = predict.answer(model, material.encoded, material.valid)
    monkeypatch.setattr(predict, "CELLS", 40)
    chunks = predict.answer(model, material.encoded, material.valid)
    lengths = material.valid.stop - material.valid.start
    assert whole.values["tag"].shape == (6, 30, 3)
    for name, values in whole.values.items():
        for row, length in enumerate(lengths):
            found, expected = (v[row] if name == "kind" else v[row, :length] for v in (chunks.values[name], values))
            np.testing.assert_allclose(found, expected, rtol=1e-12)
    for name, scale in whole.scales.items():
        torch.testing.assert_close(chunks.scales[name].loc, scale.loc, rtol=1e-12, atol=0)


def test_a_model_that_reads_backwards_is_validated_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "CELLS", 6)
    monkeypatch.setitem(RECIPE, "training", {})
    model, material = ready(bidirectional=True)
    assert model.whole_only
    batch = cut(material.encoded, material.valid, model.inputs, model.outputs)
    found = measure(model, material.encoded, material.valid)["loss"]
    assert found == pytest.approx(model.loss(model(batch), batch).item(), rel=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"outputs": {"tag": {"kind": "labels"}, "kind": {"kind": "category"}}},
            "training.tbptt_steps is 4, but outputs.kind wants one answer for the whole sequence; expected outputs "
            "with one answer for each step, which any piece of a sequence can teach: take training.memory instead",
        ),
        (
            {"core": {"bidirectional": True}},
            r"training.tbptt_steps is 4, but this model reads each sequence backwards too \(core.bidirectional: "
            r"true\); expected a causal model whose outputs answer each step or pool the steps of a sequence",
        ),
    ],
)
def test_what_cannot_be_cut_into_pieces_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        SequenceModel(parse_recipe({**RECIPE, **change}))


@pytest.mark.parametrize("steps", [None, 100])
def test_every_step_of_a_long_sequence_is_learned_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int | None
) -> None:
    model = SequenceModel(parse_recipe({**RECIPE, "training": {"tbptt_steps": steps, "steps": 1}}))
    seen: list[Places] = []
    original = fitting.train

    def watched(model: SequenceModel, material: Material, *rest: Any, **more: Any) -> Any:
        seen.extend([material.train, material.valid])
        return original(model, material, *rest, **more)

    monkeypatch.setattr(fitting, "train", watched)
    fitting.fit_model(model, read_dataset(model, table((700, 900))), tmp_path)
    assert [(p.origin - p.start).tolist() for p in seen] == [[700, 900]] * 2
