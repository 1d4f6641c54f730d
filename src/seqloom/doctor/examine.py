"""From a model, its data and its log to findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqloom.batch import Encoded, cut, encode
from seqloom.dataset import Dataset, part_places, read_dataset, shortened, thin
from seqloom.doctor.course import course
from seqloom.doctor.dead import dead_share
from seqloom.doctor.findings import Findings, Layer
from seqloom.doctor.gradient import Curve, gradient_by_lag
from seqloom.doctor.growth import jacobian_growth
from seqloom.doctor.memory import memory_steps
from seqloom.doctor.reach import Reach, reach
from seqloom.doctor.saturation import saturated_shares
from seqloom.doctor.trace import Trace, Track, trace
from seqloom.doctor.walk import walk
from seqloom.errors import UsageError
from seqloom.fitting import prepare
from seqloom.model import SequenceModel
from seqloom.outputs.output import Places
from seqloom.recipe import Recipe, load_recipe
from seqloom.training.checkpoint import load_checkpoint
from seqloom.training.journal import read_log
from seqloom.training.updates import Parts, relative_updates, weights_by_part

ROWS = 32  # sequences of the training part that are traced, evenly spread
LONGEST = 1024  # steps of each, at most: all states of a trace are in memory at once


@dataclass(frozen=True)
class Patient:
    """A model as training left it, with its data.

    Attributes:
        model: with its present weights.
        first: its weights as they began.
        dataset: what it was trained on.
        encoded: the same as tensors.
        log: lines of `log.jsonl`.
    """

    model: SequenceModel
    first: Parts
    dataset: Dataset
    encoded: Encoded
    log: Sequence[Mapping[str, Any]]


def admit(run: Path, data: Path) -> Patient:
    """The patient of a run directory, finished or not, with the weights of its newest checkpoint.

    Raises:
        CheckpointError: there is none.
        DataError: the data cannot be read.
    """
    recipe, _ = load_recipe(run / "recipe.full.yaml")
    patient = begin(recipe, data)
    tensors = load_checkpoint(run / "checkpoints").tensors
    weights = {name.removeprefix("model/"): tensor for name, tensor in tensors.items() if name.startswith("model/")}
    patient.model.load_state_dict(weights)
    return replace(patient, log=read_log(run))


def begin(recipe: Recipe, data: object) -> Patient:
    """A patient before its first step of training."""
    model = SequenceModel(recipe)
    dataset = read_dataset(model, data)
    prepare(model, dataset)
    encoded = encode(dataset.segments, model.inputs, model.outputs)
    return Patient(model, weights_by_part(model), dataset, encoded, [])


def trace_some(patient: Patient) -> tuple[Trace, Places]:
    """Some sequences of the training part, traced.

    Raises:
        UsageError: they hold no step.
    """
    model = patient.model
    places = thin(training_places(patient), ROWS)
    traced = trace(model, cut(patient.encoded, places, model.inputs, model.outputs))
    if not any(track.states for track in traced.tracks):
        raise UsageError("the training part holds no step that the core reads; expected sequences: look at the data")
    return traced, places


def training_places(patient: Patient) -> Places:
    """What training reads, long sequences cut to their last steps."""
    return shortened(part_places(patient.model, patient.dataset, "train", patient.model.block), LONGEST)


def lags_that_matter(patient: Patient) -> Reach:
    """How far back inputs matter in the training part."""
    return reach(patient.model, patient.encoded, training_places(patient))


def examine(patient: Patient, traced: Trace, *, lags: Reach | None = None) -> Findings:
    """Measure everything; of the lags that matter, what is known already may be given."""
    model = patient.model
    gradients = gradient_by_lag(model, traced)
    return Findings(
        layers=tuple(_layer(track, gradients[track.name]) for track in traced.tracks),
        reach=lags_that_matter(patient) if lags is None else lags,
        factor=model.front.factor,
        course=course(patient.log, model.recipe.training),
        moved=relative_updates(model, patient.first),
        first_size=_first_size(patient.first),
    )


def _layer(track: Track, gradient: Curve) -> Layer:
    steps = walk(track)
    return Layer(
        name=track.name,
        gradient=gradient / gradient[0] if len(gradient) and gradient[0] > 0 else np.zeros(0),
        growth=jacobian_growth(track),
        saturated=saturated_shares(steps),
        dead=dead_share(steps),
        memory=memory_steps(steps),
    )


def _first_size(first: Parts) -> float:
    """Root mean square of the core's weights."""
    weights = [weight.flatten() for part, found in first.items() if part.startswith("layer") for weight in found]
    return torch.cat(weights).square().mean().sqrt().item() if weights else float("nan")
