"""From a declared model and a dataset to a trained one: fit, build, train, calibrate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from seqloom.batch import Encoded, encode
from seqloom.budget import Plan, plan_chunks
from seqloom.dataset import Dataset, part_places, shortened, thin, training_columns
from seqloom.evaluate import calibrate
from seqloom.model import SequenceModel
from seqloom.outputs.output import Places
from seqloom.saving import JSON
from seqloom.training.checkup import Checkup
from seqloom.training.lessons import Material
from seqloom.training.loop import Standing, train
from seqloom.training.watcher import Watcher

VALIDATION_WINDOWS = 1024  # at most so many, evenly spread, are looked at while training and for calibration
LONGEST_LESSON = 512  # past steps of one training window where forecasts read whole histories


class Fitted(NamedTuple):
    """A trained model and how its training went."""

    model: SequenceModel
    standing: Standing


# Makes the doctor of a training from the built model, what it is trained on, the same as tensors, and the run.
MakeCheckup = Callable[[SequenceModel, Dataset, Encoded, Path], Checkup]


def fit_model(
    model: SequenceModel,
    dataset: Dataset,
    run: Path,
    *,
    watcher: Watcher | None = None,
    doctor: MakeCheckup | None = None,
    resume: bool = False,
    known: JSON | None = None,
) -> Fitted:
    """Train a declared model on a dataset, leaving checkpoints and the log in `run`.

    Vocabularies and scales are fitted on the training part; early stopping and calibration use the validation
    part. Without one (`data.split.valid: 0`) all steps are trained and nothing is calibrated. The doctor is called
    where `training.doctor_every` asks for one. `known` holds vocabularies and scales to take instead of fitting
    them: those that the weights of a run to be resumed began with.
    """
    prepare(model, dataset, known)
    encoded = encode(dataset.segments, model.inputs, model.outputs)
    lessons = part_places(model, dataset, "train", model.block)
    checks = validation_places(model, dataset, model.block)
    if model.horizon:
        lessons, checks = shortened(lessons, LONGEST_LESSON), shortened(checks, LONGEST_LESSON)
    material = Material(encoded, lessons, checks)
    checkup = doctor(model, dataset, encoded, run) if doctor and model.recipe.training.doctor_every else None
    standing = train(model, material, run, watcher=watcher, checkup=checkup, resume=resume)
    if len(material.valid.segment):
        calibrate(model, dataset, validation_places(model, dataset))
    return Fitted(model.eval(), standing)


def prepare(model: SequenceModel, dataset: Dataset, known: JSON | None = None) -> None:
    """Fit on the training part, or take what is `known` of it, and make weights from the recipe's seed.

    The recipe takes over the frequency found in the data, so that new data are read on the same grid.
    """
    model.recipe = model.recipe.with_frequency(dataset.segments.frequency)
    if known is None:
        learn(model, dataset)
    else:
        model.restore(known)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(model.recipe.training.seed)
        model.build()


def learn(model: SequenceModel, dataset: Dataset) -> None:
    """Fit on the training part, and read the files that the recipe names beside the data."""
    model.fit(*training_columns(model, dataset))
    model.read_files(dataset.folder)


def chunk_plan(model: SequenceModel, dataset: Dataset) -> Plan | None:
    """How `training.memory` will cut the training sequences of a built model; None without a budget.

    Raises:
        RecipeError: the budget is too small.
    """
    if model.recipe.training.memory is None:
        return None
    encoded = encode(dataset.segments, model.inputs, model.outputs)
    return plan_chunks(model, encoded, part_places(model, dataset, "train"))


def validation_places(model: SequenceModel, dataset: Dataset, steps: int | None = None) -> Places:
    """Evenly spread places of the validation part; none where the recipe leaves that part out."""
    if model.recipe.data.split.valid == 0:
        return part_places(model, dataset, "train").take(slice(0, 0))
    return thin(part_places(model, dataset, "valid", steps), VALIDATION_WINDOWS)
