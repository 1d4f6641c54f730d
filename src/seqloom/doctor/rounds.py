"""The doctor's rounds: a look at a model every so many steps while it is trained, by the rules of `seqloom doctor`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from seqloom.batch import Encoded
from seqloom.dataset import Dataset
from seqloom.doctor.diseases import diagnose, to_json
from seqloom.doctor.examine import Patient, examine, lags_that_matter, trace_some
from seqloom.doctor.words import prescription
from seqloom.model import SequenceModel
from seqloom.training.checkup import Visit
from seqloom.training.journal import read_log
from seqloom.training.updates import weights_by_part


class Rounds:
    """Looks, writes down and tells; changes neither weights nor random numbers that training uses.

    The first look is at the model as it was made: the lags that matter in the data are found then, once, and what
    cannot be examined is refused before the first step.

    Args:
        model: built, with the weights that it begins with.
        dataset: what it is trained on.
        encoded: the same as tensors.
        run: the run directory, for its log.

    Raises:
        UsageError: the training part holds no step that the core reads.
    """

    def __init__(self, model: SequenceModel, dataset: Dataset, encoded: Encoded, run: Path) -> None:
        self.patient = Patient(model, weights_by_part(model), dataset, encoded, [])
        self.run = run
        trace_some(self.patient)
        self.lags = lags_that_matter(self.patient)

    def visit(self, step: int) -> Visit:
        """All diseases for the log; in words those that no visit of this run has named before."""
        patient = replace(self.patient, log=read_log(self.run))
        traced, _ = trace_some(patient)
        found = diagnose(examine(patient, traced, lags=self.lags), patient.model.recipe)
        told = {entry["name"] for line in patient.log for entry in line.get("doctor", [])}
        new = [diagnosis for diagnosis in found if diagnosis.name not in told]
        news = "\n".join([f"doctor at step {step}:", *(f"  {line}" for line in prescription(new))]) if new else ""
        return Visit([to_json(diagnosis) for diagnosis in found], news)
