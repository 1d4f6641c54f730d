"""`fit`, `load` and `Trained`: the toolkit in four verbs."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path

import polars as pl

from seqloom.artefact import load_artefact, save_artefact
from seqloom.backtest import backtest
from seqloom.data.ledger import Ledger
from seqloom.data.series import missing
from seqloom.data.splits import Part
from seqloom.dataset import Dataset, coming_places, read_dataset
from seqloom.doctor.rounds import Rounds
from seqloom.errors import DataError, UsageError
from seqloom.evaluate import Evaluation, evaluate
from seqloom.fitting import fit_model
from seqloom.inputs.input import Role
from seqloom.model import SequenceModel
from seqloom.outputs.output import Output, Places
from seqloom.predict import answer_frames, answer_rows
from seqloom.recipe import Recipe, load_recipe
from seqloom.saving import JSON
from seqloom.training.loop import Standing
from seqloom.training.watcher import Watcher


class Trained:
    """A trained model with everything it needs to answer new data.

    Attributes:
        model: the network with its preprocessing.
        receipt: how it was made: metrics, data fingerprint, versions.
    """

    def __init__(self, model: SequenceModel, receipt: JSON) -> None:
        self.model = model
        self.receipt = receipt

    def predict(
        self, data: object, *, output: str | None = None, horizon: int | None = None, ledger: Ledger | None = None
    ) -> pl.DataFrame:
        """Answers for new data: for forecasts the coming steps of every series.

        Args:
            data: a path, a Polars or a pandas frame with the columns that the inputs read.
            output: which output, where there are several.
            horizon: coming steps, for forecasts; that of the recipe where omitted.
            ledger: where to enter what was found in the data, such as texts that are too long to be read whole, and
                rows that have no answer.

        Raises:
            UsageError: no such output, or a horizon below 1.
            DataError: the data cannot be read, or a known-ahead column has no value for a coming step.
        """
        asked = self._output(output)
        if horizon is not None and not self.model.horizon:
            raise UsageError(f"horizon is {horizon}, but output {asked.name!r} is no forecast; leave the horizon out")
        if horizon is not None and horizon < 1:
            raise UsageError(f"horizon is {horizon}; expected 1 or more")
        dataset = read_dataset(self.model, data, learn=False, horizon=horizon, ledger=ledger)
        self.model.report(dataset.segments, dataset.ledger)
        places = coming_places(self.model, dataset, horizon)
        require_known_ahead(self.model, dataset, places)
        if self.model.horizon:
            return answer_frames(self.model, dataset.segments, places)[asked.name]
        frame, silent = answer_rows(self.model, asked, dataset.segments, places)
        if len(silent):
            message = (
                f"output {asked.name!r} has no answer to {len(silent)} of {len(dataset.segments)} rows, which ask for "
                f"nothing, or for nothing that it can answer: {dataset.ledger.at_rows(silent + 1)}."
            )
            dataset.ledger.add("warning", "no-answer", message, row=int(silent[0]) + 1, count=len(silent))
        return frame

    def _output(self, name: str | None) -> Output:
        outputs = self.model.outputs
        if name is None and len(outputs) == 1:
            return next(iter(outputs.values()))
        if name is None or name not in outputs:
            raise UsageError(f"output is {name!r}; expected one of {', '.join(outputs)}")
        return outputs[name]

    def evaluate(self, data: object, part: Part = "test") -> Evaluation:
        """Metrics on a part of the data, with intervals, receipts and rivals."""
        return evaluate(self.model, read_dataset(self.model, data), part)

    def backtest(
        self, data: object, *, windows: int | None = None, refit: int | None = None
    ) -> dict[str, pl.DataFrame]:
        """Rolling-origin forecasts over the test part, by output."""
        return backtest(self.model, read_dataset(self.model, data), windows=windows, refit=refit)

    def save(self, path: str | Path) -> None:
        """One `.seqloom` file."""
        save_artefact(Path(path), self.model, self.receipt)


def fit(recipe: Recipe | str | Path, data: object, *, overrides: Sequence[str] = ()) -> Trained:
    """Train what a recipe declares; for a run directory with reports use `seqloom train`.

    What the doctor finds (`training.doctor_every`) is a Python warning.

    Args:
        recipe: a recipe, or the path of one.
        data: a path, a Polars or a pandas frame.
        overrides: `key.path=value` settings on top of a recipe file.

    Raises:
        UsageError: overrides beside a finished Recipe.
    """
    if isinstance(recipe, Recipe) and overrides:
        raise UsageError(f"overrides {list(overrides)} apply to recipe files; change the Recipe itself instead")
    declared = recipe if isinstance(recipe, Recipe) else load_recipe(Path(recipe), overrides)[0]
    model = SequenceModel(declared)
    dataset = read_dataset(model, data)
    with tempfile.TemporaryDirectory(prefix="seqloom-fit-") as folder:
        fitted = fit_model(model, dataset, Path(folder), watcher=_Teller(), doctor=Rounds)
    return Trained(fitted.model, receipt(dataset, fitted.standing))


class _Teller(Watcher):
    """Watches a training that nobody sees: what a person should look into becomes a Python warning."""

    def warn(self, text: str) -> None:
        """Warn the caller of `fit`."""
        warnings.warn(text, stacklevel=2)


def load(path: str | Path, *, trusted: Collection[str] = ()) -> Trained:
    """A model from its `.seqloom` file, or from a run directory that holds one."""
    found = Path(path)
    artefact = load_artefact(found / "model.seqloom" if found.is_dir() else found, trusted=trusted)
    return Trained(artefact.model, artefact.receipt)


def receipt(dataset: Dataset, standing: Standing) -> JSON:
    """What an artefact says about its making."""
    found = {
        "data": dataset.fingerprint,
        "validation": standing.best_metrics,
        "steps": standing.step,
        "best_step": standing.best_step,
    }
    return found | ({"mean_of": standing.mean_of} if standing.mean_of else {})


def require_known_ahead(model: SequenceModel, dataset: Dataset, places: Places) -> None:
    """Raise where a column declared as known ahead has no value for a step to be answered.

    Raises:
        DataError: names column, series and date.
    """
    segments = dataset.segments
    columns = [column for i in model.inputs.values() if i.role is Role.KNOWN for column in i.columns]
    for column in columns:
        absent = missing(segments.steps[column])
        for segment, origin, stop in zip(places.segment, places.origin, places.stop, strict=True):
            first = segments.offsets[segment] + origin
            gaps = absent[first : first + stop - origin].nonzero()[0]
            if len(gaps):
                date = "" if segments.times is None else f" on {str(segments.times[first + gaps[0]])[:16]}"
                raise DataError(
                    f"column {column!r} is declared known ahead, but series {segments.ids[segment]!r} has no value"
                    f"{date} ({len(gaps)} of {stop - origin} coming steps); add rows for the coming dates with "
                    f"{column!r} filled in and the target left empty"
                )
