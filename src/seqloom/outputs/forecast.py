"""The coming steps of one or several series, with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from seqloom.data.calendar_grid import season_length
from seqloom.data.segments import Column, Segments
from seqloom.errors import RecipeError
from seqloom.inputs.input import Input
from seqloom.metrics.forecast import score_forecast, seasonal_scale
from seqloom.metrics.result import Result
from seqloom.outputs.output import Array, Output, OutputSettings, Places, Reading, RivalAnswers, Shape, Steps
from seqloom.rivals.auto_ets import AutoEts
from seqloom.rivals.rival import ForecastRival, Window
from seqloom.rivals.seasonal_naive import SeasonalNaive
from seqloom.scaling import Scale
from seqloom.standardise import as_matrix


class ForecastSettings(OutputSettings):
    """What a recipe may say of a forecast."""

    horizon: int = Field(ge=1, description="steps ahead")
    block: int | None = Field(
        None,
        ge=1,
        description="steps answered at once, then fed back; omitted: the whole horizon (direct); 1: recursive",
    )
    baseline: list[int] = Field(
        [], description="lags of its input whose mean the forecast starts from; omitted: the first lag"
    )
    intervals: list[int] = Field([80, 95], description="central prediction intervals in percent")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the decoder's hidden features dropped")

    @field_validator("intervals")
    @classmethod
    def _percentages(cls, intervals: list[int]) -> list[int]:
        if any(not 0 < level < 100 for level in intervals):
            raise ValueError(f"intervals are {intervals}; expected percentages between 1 and 99, such as [80, 95]")
        return sorted(set(intervals))


class Forecast(Output):
    """Quantiles of each target at each coming step, from the core running on over steps whose past inputs are hidden.

    The loss is the pinball loss of Koenker & Bassett (1978), doubled, so that the median's is the absolute error.
    Intervals are widened or narrowed, step by step, by split conformal quantile regression (Romano et al., 2019)
    on validation data.
    """

    Settings = ForecastSettings
    shape = Shape.AHEAD

    def __init__(self, name: str, settings: ForecastSettings) -> None:
        super().__init__(name, settings)
        self.horizon = settings.horizon
        self.block = min(settings.block or settings.horizon, settings.horizon)
        self.baseline = settings.baseline
        self.intervals = settings.intervals
        self.dropout = settings.dropout
        self.quantiles = sorted(
            {0.5} | {round(0.5 + sign * level / 200, 4) for level in settings.intervals for sign in (-1, 1)}
        )
        # Added to each quantile, in units of the scale: (steps, targets, quantiles).
        self.correction: Array = np.zeros((1, len(self.columns), len(self.quantiles)))

    def attach(self, source: Input) -> None:
        """Share the input's scale, and start from its lags."""
        super().attach(source)
        strange = set(self.baseline) - set(source.lags)
        if strange:
            raise RecipeError(
                f"outputs.{self.name}.baseline: {sorted(strange)} are no lags of input {source.name!r}; "
                f"expected some of {list(source.lags)}"
            )

    def fit(self, values: Column) -> None:
        """Nothing: the source input knows the scale."""

    def fitted(self) -> dict[str, Any]:
        """The conformal correction of each step, target and quantile."""
        return {"correction": self.correction.tolist()}

    def restore(self, fitted: dict[str, Any]) -> None:
        """The conformal correction."""
        self.correction = np.asarray(fitted["correction"], np.float64)

    def build(self, features: int, joined: int, bidirectional: bool) -> None:
        """One hidden layer from a coming step's core output and inputs to all quantiles of all targets.

        Its last weights are zero at first, so that training starts from the naive forecast.
        """
        last = nn.Linear(features, len(self.columns) * len(self.quantiles))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        drop = nn.Dropout(self.dropout)
        self.decoder = nn.Sequential(drop, nn.Linear(features + joined, features), nn.ReLU(), drop, last)

    def encode(self, values: Column) -> Tensor:
        """(N, C) float64 in natural units, NaN where missing."""
        return torch.from_numpy(as_matrix(values))

    def forward(self, reading: Reading) -> Tensor:
        """(B, steps, C, Q) in scaled units, at the steps after each row's origin, added to the naive forecast."""
        states, joined = reading.states.values, reading.joined.values
        B = len(reading.origins)
        steps = int((reading.states.lengths - reading.origins).max()) if B else 0
        index = reading.origins.unsqueeze(1) + torch.arange(steps)
        rows, index = torch.arange(B).unsqueeze(1), index.clamp(max=max(states.shape[1] - 1, 0))
        raw: Tensor = self.decoder(torch.cat([states[rows, index], joined[rows, index]], dim=-1))
        raw = raw.reshape(B, steps, len(self.columns), len(self.quantiles))
        lagged = reading.lagged.get(str(self.source), {})
        if lagged:
            chosen = torch.stack([lagged[lag][rows, index] for lag in self.baseline or [next(iter(lagged))]])
            raw = raw + chosen.nanmean(dim=0).nan_to_num(0.0).to(raw.dtype).unsqueeze(-1)
        return raw

    def loss(self, raw: Tensor, target: Tensor, scale: Scale | None) -> Tensor:
        """Doubled pinball loss in scaled units: raw (B, U, C, Q), target (B, U, C) natural."""
        assert scale is not None
        observed = ~target.isnan()
        scaled = torch.where(observed, scale.apply(target), target.new_zeros(())).to(raw.dtype)
        error = scaled.unsqueeze(-1) - raw
        quantiles = torch.tensor(self.quantiles, dtype=raw.dtype)
        pinball = 2 * torch.maximum(quantiles * error, (quantiles - 1) * error).mean(dim=-1)
        return torch.where(observed, pinball, pinball.new_zeros(())).sum() / observed.sum().clamp(min=1)

    def answers(self, raw: Tensor, scale: Scale | None) -> Array:
        """(B, U, C, Q) in natural units, calibrated, quantiles in order."""
        assert scale is not None
        corrected = raw.double().numpy() + self.correction[_steps(raw.shape[1], len(self.correction))]
        ordered = torch.from_numpy(np.sort(corrected, axis=-1)).flatten(2)
        wide = Scale(*(part.repeat_interleave(len(self.quantiles), dim=-1) for part in scale))
        natural: Array = wide.invert(ordered).reshape(raw.shape).numpy()
        return natural

    def monitor(self, answers: Array, target: Array) -> tuple[str, float]:
        """MAE of the median."""
        return "MAE", float(np.nanmean(np.abs(answers[..., self.quantiles.index(0.5)] - target)))

    def calibrate(self, answers: Array, truth: Array, scale: Scale | None) -> None:
        """Shift each interval's ends so that it covers its share of the validation windows."""
        assert scale is not None
        spread = scale.spread.numpy()[:, None, :]
        correction = np.zeros(answers.shape[1:])
        for low, high, level in self.interval_ends():
            outside = np.maximum(answers[..., low] - truth, truth - answers[..., high]) / spread
            shift = _conformal(outside, level / 100)
            correction[..., low] = -shift
            correction[..., high] = shift
        self.correction = self.correction[_steps(answers.shape[1], len(self.correction))] + correction

    def interval_ends(self) -> list[tuple[int, int, int]]:
        """For each interval the places of its two quantiles, and its level in percent."""
        place = {quantile: k for k, quantile in enumerate(self.quantiles)}
        return [
            (place[round(0.5 - level / 200, 4)], place[round(0.5 + level / 200, 4)], level) for level in self.intervals
        ]

    def series_names(self, segments: Segments, places: Places) -> list[list[str]]:
        """For each row the names of its C series: the segment's, the column's, or both where there are many."""
        if len(self.columns) == 1:
            return [[segments.ids[k]] for k in places.segment]
        if len(segments) == 1:
            return [self.columns for _ in places.segment]
        return [[f"{segments.ids[k]}/{column}" for column in self.columns] for k in places.segment]

    def frame(self, answers: Array, segments: Segments, places: Places) -> pl.DataFrame:
        """One row for each series, window and step: unique_id, ds, cutoff, step, y, y_hat, lo-80, hi-80, ..."""
        B, U, C, _ = answers.shape
        median = self.quantiles.index(0.5)
        columns: dict[str, Any] = self._keys(segments, places, U)
        columns["y"] = self.truth(segments, places, U).transpose(0, 2, 1).reshape(-1)
        flat = answers.transpose(0, 2, 1, 3).reshape(B * C * U, answers.shape[3])
        columns["y_hat"] = flat[:, median]
        for low, high, level in self.interval_ends():
            columns[f"lo-{level}"] = flat[:, low]
            columns[f"hi-{level}"] = flat[:, high]
        return pl.DataFrame(columns).with_columns(pl.col("y").fill_nan(None))

    def _keys(self, segments: Segments, places: Places, steps: int) -> dict[str, Any]:
        assert segments.times is not None
        C = len(self.columns)
        first = segments.offsets[places.segment] + places.origin
        index = first[:, None] + np.arange(steps)
        cutoff = segments.times[np.maximum(first - 1, 0)].copy()
        cutoff[places.origin == 0] = np.datetime64("NaT")
        return {
            "unique_id": np.repeat([name for row in self.series_names(segments, places) for name in row], steps),
            "ds": np.repeat(segments.times[index][:, None], C, axis=1).reshape(-1),
            "cutoff": np.repeat(cutoff, C * steps),
            "step": np.tile(np.arange(1, steps + 1), len(first) * C),
        }

    def truth(self, segments: Segments, places: Places, steps: int) -> Array:
        """(B, U, C) what came to pass, NaN where it is not known."""
        values = as_matrix(self.read(segments))
        index = (segments.offsets[places.segment] + places.origin)[:, None] + np.arange(steps)
        found: Array = values[index]
        return found

    def score(self, frame: pl.DataFrame, segments: Segments, ends: Steps) -> Result:
        """Errors, coverage, widths; MASE by each series' own seasonal naive error before `ends`."""
        season = season_length(str(segments.frequency))
        values = as_matrix(self.read(segments))
        every = Places(np.arange(len(segments)), ends * 0, ends, ends)
        scales = {
            name: seasonal_scale(values[segments.offsets[k] : segments.offsets[k] + ends[k], c], season)
            for k, names in enumerate(self.series_names(segments, every))
            for c, name in enumerate(names)
        }
        return score_forecast(frame, scales=scales)

    def rivals(self, segments: Segments, places: Places, training: Column) -> list[RivalAnswers]:
        """Seasonal naive always, AutoETS where its library is installed."""
        return [
            self._rival("seasonal naive", SeasonalNaive(), segments, places),
            self._rival("AutoETS", AutoEts(), segments, places),
        ]

    def _rival(self, name: str, rival: ForecastRival, segments: Segments, places: Places) -> RivalAnswers:
        reason = rival.available()
        if reason is not None:
            return RivalAnswers(name, None, (reason,))
        found = rival.forecast(
            self._windows(segments, places),
            self.horizon,
            season=season_length(str(segments.frequency)),
            levels=self.intervals,
        )
        bounds = {0.5: found.y_hat}
        for low, high, level in self.interval_ends():
            bounds[self.quantiles[low]], bounds[self.quantiles[high]] = found.lo[level], found.hi[level]
        quantiles = np.stack([bounds[quantile] for quantile in self.quantiles], axis=-1)
        answers = quantiles.reshape(-1, len(self.columns), *quantiles.shape[1:]).transpose(0, 2, 1, 3)
        return RivalAnswers(name, self.frame(answers, segments, places), found.notes)

    def _windows(self, segments: Segments, places: Places) -> list[Window]:
        values = as_matrix(self.read(segments))
        first = segments.offsets[places.segment]
        return [
            Window(name, values[start : start + origin, c])
            for start, origin, names in zip(first, places.origin, self.series_names(segments, places), strict=True)
            for c, name in enumerate(names)
        ]


def _steps(count: int, known: int) -> Steps:
    """Which step's correction each of `count` steps takes: its own, or the last known one."""
    return np.minimum(np.arange(count), known - 1)


def _conformal(outside: Array, share: float) -> Array:
    """How far interval ends must move out so that `share` of the scores (B, U, C) lie inside, (U, C).

    The finite-sample rank takes windows that overlap for one: B windows of U steps count as B / U. Steps
    are taken one by one where each has 50 scores, else together.
    """
    independent = len(outside) / max(outside.shape[1], 1)
    counts = (~np.isnan(outside)).sum(axis=0)
    if counts.size and counts.min() < 50:
        return np.broadcast_to(_ranked(outside.reshape(-1, outside.shape[2]), share, independent), outside.shape[1:])
    return _ranked(outside, share, independent)


def _ranked(scores: Array, share: float, independent: float) -> Array:
    """The quantile of the scores along the first axis that covers `share` of new ones (Romano et al., 2019)."""
    if not len(scores):
        return np.zeros(scores.shape[1:])
    count = (~np.isnan(scores)).sum(axis=0)
    level = min(share * (1 + 1 / max(independent, 1.0)), 1.0)
    rank = np.clip(np.ceil(count * level).astype(np.int64), 1, np.maximum(count, 1)) - 1
    found: Array = np.take_along_axis(np.sort(scores, axis=0), rank[None], axis=0)[0]
    return np.nan_to_num(found)
