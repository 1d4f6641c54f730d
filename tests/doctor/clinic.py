"""Patients for the doctor: small models, some with a disease planted in their weights, trained for a few steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import torch

from seqloom.dataset import part_places
from seqloom.doctor.diseases import Diagnosis, diagnose
from seqloom.doctor.examine import Patient, begin, examine, trace_some
from seqloom.doctor.findings import Findings
from seqloom.fitting import validation_places
from seqloom.model import SequenceModel
from seqloom.recipe import parse_recipe
from seqloom.training.journal import read_log
from seqloom.training.lessons import Material
from seqloom.training.loop import train

Plant = Callable[[SequenceModel], None]
TRAINING = {"steps": 60, "lr": 0.005, "batch_size": 32, "validate_every": 20, "warmup_steps": 5}


def admitted(recipe: dict[str, Any], frame: pl.DataFrame, run: Path, plant: Plant | None = None) -> Patient:
    """Trained as the recipe says, with something planted before the first step."""
    patient = begin(parse_recipe(recipe), frame)
    model, dataset = patient.model, patient.dataset
    if plant is not None:
        with torch.no_grad():
            plant(model)
    run.mkdir(exist_ok=True)
    places = part_places(model, dataset, "train", model.block), validation_places(model, dataset, model.block)
    train(model, Material(patient.encoded, *places), run)
    return replace(patient, log=read_log(run))


def seen(patient: Patient) -> tuple[Findings, list[Diagnosis]]:
    """What the doctor measures and says."""
    findings = examine(patient, trace_some(patient)[0])
    return findings, diagnose(findings, patient.model.recipe)


def each_cell(change: Callable[[Any], None]) -> Plant:
    """A plant that changes every cell of the core."""

    def plant(model: SequenceModel) -> None:
        for layer in model.core.cells():
            for cell in layer:
                change(cell)

    return plant
