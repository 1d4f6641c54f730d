"""Rolling-origin forecasts over the test part, with the model as it is or trained anew on the way."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from seqloom.data.splits import SeriesSplit
from seqloom.dataset import Dataset, part_places
from seqloom.errors import UsageError
from seqloom.fitting import fit_model
from seqloom.model import SequenceModel
from seqloom.outputs.output import Places
from seqloom.predict import answer_frames


def backtest(
    model: SequenceModel, dataset: Dataset, *, windows: int | None = None, refit: int | None = None
) -> dict[str, pl.DataFrame]:
    """Forecasts at every origin of the test part, by output.

    Args:
        model: a trained forecaster.
        dataset: its data, with parts.
        windows: only the last so many origins.
        refit: train a fresh model after every so many origins, on what lies before; None: never.

    Raises:
        UsageError: the model does not forecast, or a count is below 1.
    """
    if not model.horizon:
        raise UsageError("backtest needs a forecast among the outputs; for other answers use `seqloom evaluate`")
    for name, count in (("--windows", windows), ("--refit", refit)):
        if count is not None and count < 1:
            raise UsageError(f"{name} is {count}; expected 1 or more")
    places = _last(part_places(model, dataset, "test"), dataset, windows)
    if refit is None:
        return answer_frames(model, dataset.segments, places)
    parts = [
        answer_frames(_refitted(model, dataset, group), dataset.segments, group)
        for group in _groups(places, dataset, refit)
    ]
    return {name: pl.concat([part[name] for part in parts]) for name in model.outputs}


def _cutoffs(places: Places, dataset: Dataset) -> np.ndarray[tuple[int], np.dtype[np.datetime64]]:
    """The date of the first coming step of each window: windows of all series with the same one belong together."""
    assert dataset.segments.times is not None
    found: np.ndarray[tuple[int], np.dtype[np.datetime64]] = dataset.segments.times[
        dataset.segments.offsets[places.segment] + places.origin
    ]
    return found


def _last(places: Places, dataset: Dataset, windows: int | None) -> Places:
    if windows is None:
        return places
    cutoffs = _cutoffs(places, dataset)
    return places.take(np.flatnonzero(np.isin(cutoffs, np.unique(cutoffs)[-windows:])))


def _groups(places: Places, dataset: Dataset, size: int) -> Iterator[Places]:
    cutoffs = _cutoffs(places, dataset)
    distinct = np.unique(cutoffs)
    for start in range(0, len(distinct), size):
        yield places.take(np.flatnonzero(np.isin(cutoffs, distinct[start : start + size])))


def _refitted(model: SequenceModel, dataset: Dataset, group: Places) -> SequenceModel:
    """A fresh model of the same recipe; train and validation parts move up to the group's first origin."""
    assert isinstance(dataset.split, SeriesSplit)
    assert dataset.segments.times is not None
    first = _cutoffs(group, dataset).min()
    before = np.concatenate([[0], np.cumsum(dataset.segments.times < first)])
    test = np.minimum(np.diff(before[dataset.segments.offsets]), dataset.split.end).astype(np.int64)
    valid = np.maximum(test - (dataset.split.test - dataset.split.valid), 0)
    moved = replace(dataset, split=replace(dataset.split, valid=valid, test=test))
    with tempfile.TemporaryDirectory(prefix="seqloom-refit-") as folder:
        return fit_model(SequenceModel(model.recipe), moved, Path(folder)).model
