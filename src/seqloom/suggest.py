"""From a table that nobody described to a recipe: what `seqloom forecast` and `seqloom init` start from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from seqloom.data.guess import Guess, Kind, guess_kinds
from seqloom.errors import UsageError

# Steps of a year, or of the next longer season, by frequency.
LONGER_SEASON = {"1d": 364, "1bd": 260, "1h": 168, "30m": 336, "15m": 672}
CALENDAR = {
    "1h": ["hour", "day_of_week", "day_of_year"],
    "30m": ["hour", "day_of_week", "day_of_year"],
    "15m": ["hour", "day_of_week", "day_of_year"],
    "1d": ["day_of_week", "day_of_year"],
    "1bd": ["day_of_week", "day_of_year"],
    "1w": ["day_of_year"],
}
SMALL = 3000  # observed steps in all below which a small core with a smooth calendar learns more than it remembers
MOST_WINDOWS = 2000  # scored windows beyond which origins are taken one horizon apart


def forecast_recipe(guess: Guess, frame: pl.DataFrame, horizon: int) -> dict[str, Any]:
    """A recipe, in its plain form, that forecasts what `guess` found.

    Of the last value and the last one of the same season, the forecast starts from the one that was the better
    forecast in the first 70 % of the rows, which no default split tests on.
    """
    series = frame[guess.id].n_unique() if guess.id else 1
    steps = frame.height // max(series, 1)
    baseline = min((guess.season_length, 1), key=lambda lag: naive_error(guess, frame, lag, horizon))
    return {
        "seqloom": 1,
        "data": _data(guess, horizon, series, steps),
        "inputs": _inputs(guess, steps),
        "core": {"cell": "lstm", "hidden_size": 32 if series * steps < SMALL else 64},
        "outputs": {
            "forecast": {
                "kind": "forecast",
                "columns": list(guess.targets),
                "horizon": horizon,
                "baseline": [baseline],
                "dropout": 0.1,
            }
        },
        "training": {
            "steps": 600,
            "lr": 0.004,
            "warmup_steps": 100,
            "average": 0.99,
            "validate_every": 25,
            "threads": 1,
        },
    }


def with_covariates(guess: Guess, inputs: dict[str, str]) -> Guess:
    """The guess with only the covariates that somebody named, by column and kind; as it is where nobody did.

    Raises:
        UsageError: a name is no free column of that kind.
    """
    if not inputs:
        return guess
    free = dict.fromkeys(guess.numbers, "series") | dict.fromkeys(guess.categories, "category")
    for name, kind in inputs.items():
        if free.get(name) != kind:
            known = ", ".join(f"{column}:{kind}" for column, kind in free.items()) or "none"
            raise UsageError(f"--input {name}:{kind}: the columns beside the target can be {known}")
    numbers = tuple(name for name in guess.numbers if name in inputs)
    return replace(guess, numbers=numbers, categories=tuple(name for name in guess.categories if name in inputs))


def _data(guess: Guess, horizon: int, series: int, steps: int) -> dict[str, Any]:
    windows = series * max(round(0.15 * steps), 1)
    found: dict[str, Any] = {"time": guess.time}
    if guess.id:
        found["id"] = guess.id
    if guess.frequency:
        found["frequency"] = guess.frequency
    if guess.decimal_comma:
        found["decimal_comma"] = True
    found["context_length"] = context_length(guess.season_length, horizon, steps)
    found["split"] = {"valid": 0.15, "test": 0.15, "stride": 1 if windows <= MOST_WINDOWS else horizon}
    return found


def context_length(season: int, horizon: int, steps: int) -> int:
    """Eight short seasons or two long ones, at least twice the horizon, at most a third of the history."""
    seasons = 8 if season <= 7 else 4 if season <= 24 else 2
    return max(min(max(seasons * season, 2 * horizon), steps // 3), 1)


def _inputs(guess: Guess, steps: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "past": {"kind": "series", "columns": list(guess.targets), "scale": "own", "lags": _lags(guess, steps)}
    }
    if guess.frequency in CALENDAR:
        harmonics = 2 if steps < SMALL else 4
        found["calendar"] = {"kind": "calendar", "features": CALENDAR[guess.frequency], "harmonics": harmonics}
    elif guess.frequency:
        found["calendar"] = {"kind": "calendar", "features": ["month"]}
    if guess.numbers:
        found["covariates"] = {"kind": "series", "columns": list(guess.numbers), "role": "past"}
    for column in guess.categories:
        found[_name(column, found)] = {"kind": "category", "columns": [column], "role": "past"}
    if guess.id:
        found["series"] = {"kind": "category", "columns": [guess.id], "role": "static"}
    return found


def _lags(guess: Guess, steps: int) -> list[int]:
    longer = LONGER_SEASON.get(str(guess.frequency))
    lags = {1, guess.season_length} | ({longer} if longer and steps > 3 * longer else set())
    return sorted(lags)


def naive_error(guess: Guess, frame: pl.DataFrame, lag: int, horizon: int) -> float:
    """Mean error of the last value of the same phase, `lag` steps apart, 1..horizon steps ahead, in units of spread.

    Rows are taken in the order of the table; cells that are no plain numbers are left out.
    """
    groups = frame.partition_by(guess.id) if guess.id else [frame]
    errors = []
    for target in guess.targets:
        for group in groups:
            values = group[target].cast(pl.Float64, strict=False).to_numpy()[: round(0.7 * len(group))]
            shifts = [lag * (1 + ahead // lag) for ahead in range(horizon)]
            gaps = [np.abs(values[shift:] - values[:-shift]) for shift in shifts if shift < len(values)]
            found = [gap[np.isfinite(gap)].mean() for gap in gaps if np.isfinite(gap).any()]
            spread = np.nanstd(values) if np.isfinite(values).any() else 0.0
            if found and spread > 0:
                errors.append(float(np.mean(found)) / float(spread))
    return float(np.mean(errors)) if errors else float("inf")


def _name(column: str, taken: dict[str, Any]) -> str:
    plain = "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in column) or "column"
    return plain if plain not in taken else f"{plain}_{len(taken)}"


def examples_recipe(frame: pl.DataFrame, inputs: dict[str, str], outputs: dict[str, str]) -> dict[str, Any]:
    """A recipe for a table of examples; kinds that the caller does not give are guessed.

    Without any output the last column that can be one is taken.
    """
    kinds = guess_kinds(frame)
    outputs = outputs or _guessed_output(kinds, inputs)
    following = [name for name, kind in outputs.items() if kind == "items"]
    ahead = bool(following) or "liked" in outputs.values()
    inputs = inputs or _guessed_inputs(frame, kinds, outputs) | dict.fromkeys(following, "items")
    return {
        "seqloom": 1,
        "data": {"split": {"valid": 0.15, "test": 0.15}},
        "inputs": {_name(n, {}): {**INPUT_ENTRIES.get(k, {"kind": k}), "columns": [n]} for n, k in inputs.items()},
        "core": {"cell": "lstm", "hidden_size": 64, "bidirectional": not ahead, "dropout": 0.2},
        "outputs": {_name(n, {}): _output(frame, n, k) for n, k in outputs.items()},
        "training": {"steps": 1000, "batch_size": 32},
    }


def _output(frame: pl.DataFrame, column: str, kind: str) -> dict[str, Any]:
    """An output's entry; of ratings half or less reach the threshold."""
    entry: dict[str, Any] = {"kind": kind, "columns": [column]}
    if kind != "liked":
        return entry
    ratings = frame[column].explode() if isinstance(frame[column].dtype, pl.List) else frame[column]
    middle = ratings.cast(pl.Float64, strict=False).median()
    return {**entry, "at_least": middle}


INPUT_ENTRIES: dict[str, dict[str, Any]] = {
    "series": {"kind": "series"},
    "number": {"kind": "number"},
    "vector": {"kind": "vector"},
    "category": {"kind": "category", "role": "static"},
}


def _guessed_inputs(frame: pl.DataFrame, kinds: dict[str, Kind], outputs: dict[str, str]) -> dict[str, str]:
    """All that can go in; of texts, which have a time axis of their own, the longest, where no list has one."""
    free = {name: kind for name, kind in kinds.items() if name not in outputs}
    found: dict[str, str] = {name: kind for name, kind in free.items() if kind in INPUT_ENTRIES}
    texts: dict[str, Any] = {name: frame[name].str.len_chars().mean() for name, kind in free.items() if kind == "text"}
    if texts and "series" not in found.values():
        found[max(texts, key=lambda name: texts[name])] = "text"
    return found


def _guessed_output(kinds: dict[str, Kind], inputs: dict[str, str]) -> dict[str, str]:
    answerable = [name for name, kind in kinds.items() if kind in ("category", "number", "labels")]
    free = [name for name in answerable if name not in inputs]
    return {free[-1]: kinds[free[-1]]} if free else {}
