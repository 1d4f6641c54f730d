"""Measuring a model on a part of its data, beside the naive rivals."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import polars as pl

from seqloom.attended import attention_maps
from seqloom.batch import cut, encode
from seqloom.data.splits import ExampleSplit, Part
from seqloom.dataset import Dataset, part_places, training_columns
from seqloom.inputs.text import Text
from seqloom.leak import LeakTest, leak_test
from seqloom.model import SequenceModel
from seqloom.outputs.output import Output, Places, RivalAnswers, Steps, Texts
from seqloom.predict import answer

SHOWN_CHARACTERS = 200  # of each text, beside its answer


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        document: `metrics.json`.
        frames: by output, the model's answers.
        rivals: by output and rival, theirs.
        attention: `attention.json`, what texts looked at while they were written; empty where nothing is written.
    """

    document: dict[str, Any]
    frames: dict[str, pl.DataFrame]
    rivals: dict[str, dict[str, pl.DataFrame]]
    attention: dict[str, Any] = field(default_factory=dict)


def evaluate(model: SequenceModel, dataset: Dataset, part: Part = "test", *, rivals: bool = True) -> Evaluation:
    """Score a part, beside every rival, with the leak test for forecasts.

    Raises:
        DataError: the part holds nothing to score.
    """
    places = part_places(model, dataset, part)
    encoded = encode(dataset.segments, model.inputs, model.outputs)
    answers = answer(model, encoded, places).values
    frames = {name: output.frame(answers[name], dataset.segments, places) for name, output in model.outputs.items()}
    found = {name: _rivals(model, output, dataset, places) if rivals else [] for name, output in model.outputs.items()}
    ends = test_starts(dataset)
    document: dict[str, Any] = {
        "part": part,
        "outputs": {
            name: _scores(output, frames[name], found[name], dataset, ends) for name, output in model.outputs.items()
        },
        "data": dataset.fingerprint,
    }
    if model.horizon:
        document["leak_test"] = leak_test(model, dataset.segments, places)._asdict()
    shown = {name: {r.name: r.frame for r in rs if r.frame is not None} for name, rs in found.items()}
    told = {name: _with_texts(model, frame, dataset, places) for name, frame in frames.items()}
    return Evaluation(document, told, shown, attention_maps(model, dataset.segments, encoded, places, answers))


def _with_texts(model: SequenceModel, frame: pl.DataFrame, dataset: Dataset, places: Places) -> pl.DataFrame:
    """Answers with the beginning of the texts that they were given to, where there is one row for each."""
    inputs = [input for input in model.inputs.values() if isinstance(input, Text)]
    if len(frame) != len(places.segment):
        return frame
    for column in (column for input in inputs for column in input.columns if column not in frame.columns):
        texts = pl.Series(column, dataset.segments.static[column][places.segment].tolist(), dtype=pl.String)
        short = texts.str.slice(0, SHOWN_CHARACTERS)
        frame = frame.with_columns(short + pl.when(texts != short).then(pl.lit(" …")).otherwise(pl.lit("")))
    return frame


def leak_found(document: dict[str, Any]) -> LeakTest | None:
    """The leak test of an evaluation, if it had one."""
    return LeakTest(**document["leak_test"]) if "leak_test" in document else None


def test_starts(dataset: Dataset) -> Steps:
    """(S,) where the test part of each segment begins; nothing after it may be used as a unit of error."""
    if dataset.split is None or isinstance(dataset.split, ExampleSplit):
        return dataset.ends
    return dataset.split.test


def _rivals(model: SequenceModel, output: Output, dataset: Dataset, places: Places) -> list[RivalAnswers]:
    inputs, targets = training_columns(model, dataset)
    found = output.rivals(dataset.segments, places, targets[output.name])
    for name, input in model.inputs.items():
        if isinstance(input, Text):
            texts = Texts(input.plain(inputs[name]), input.plain(input.read(dataset.segments)[places.segment]))
            found += output.text_rivals(dataset.segments, places, targets[output.name], texts)
    return found


def _scores(
    output: Output, frame: pl.DataFrame, rivals: list[RivalAnswers], dataset: Dataset, ends: Steps
) -> dict[str, Any]:
    scored = output.score(frame, dataset.segments, ends).to_json()
    others = {
        rival.name: {**output.score(rival.frame, dataset.segments, ends).to_json(), "notes": list(rival.notes)}
        for rival in rivals
        if rival.frame is not None
    }
    skipped = {rival.name: " ".join(rival.notes) for rival in rivals if rival.frame is None}
    return {"kind": type(output).__name__.lower(), **scored, "rivals": others, "rivals_skipped": skipped}


def calibrate(model: SequenceModel, dataset: Dataset, places: Places) -> None:
    """Let every output mend its stated uncertainty on places that were not trained on."""
    encoded = encode(dataset.segments, model.inputs, model.outputs)
    answers = answer(model, encoded, places)
    targets = cut(encoded, places, {}, model.outputs).targets
    for name, output in model.outputs.items():
        scale = answers.scales.get(output.source) if output.source else None
        output.calibrate(answers.values[name], targets[name].numpy(), scale)
