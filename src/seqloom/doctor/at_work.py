"""Gates and states at work: what the report draws beside a few examples, and which units follow what they read."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqloom.batch import Batch
from seqloom.doctor.examine import Patient
from seqloom.doctor.probes import Probe, probes
from seqloom.doctor.trace import Trace, Track
from seqloom.gates import evaluate, gate_functions, kept
from seqloom.outputs.output import Places
from seqloom.shown import shown_inputs

EXAMPLES = 3
STEPS = 120  # the last so many of an example
UNITS = 16  # of a layer: those that follow something, then the most active ones
LISTED = 12  # units that follow something
FOLLOWS = 0.5  # correlation from which a unit is listed
DIGITS = 3


class Follower(NamedTuple):
    """A unit whose memory goes along with something.

    Attributes:
        layer: its layer.
        state: the part of the state that was looked at.
        unit: its number, from 1.
        follows: what it goes along with.
        correlation: over all steps of all traced sequences, -1..1.
    """

    layer: str
    state: str
    unit: int
    follows: str
    correlation: float


@torch.no_grad()
def at_work(patient: Patient, traced: Trace, places: Places) -> dict[str, Any]:
    """The content of `gates.json`: examples with inputs, states and gates of every layer; and followers."""
    found = probes(patient.model, traced.batch) if patient.model.front.factor == 1 else []
    following = {track.name: followers(track, found) for track in traced.tracks}
    rows = _examples(traced.batch)
    units = {track.name: _units(track, following[track.name]) for track in traced.tracks}
    ids = patient.dataset.segments.ids
    return {
        "examples": [
            {
                "id": str(ids[places.segment[row]]),
                "inputs": shown_inputs(patient.model, traced.batch, row, STEPS),
                "layers": [_layer(track, row, units[track.name]) for track in traced.tracks if not track.backward],
            }
            for row in rows
        ],
        "steps_per_core_step": patient.model.front.factor,
        "followers": [follower._asdict() for each in following.values() for follower in each],
    }


def followers(track: Track, found: list[Probe]) -> list[Follower]:
    """For each probe the unit that follows it best, the closest first."""
    if not found or track.backward:
        return []
    name, memory = _memory(track)
    valid = track.valid
    numbers = memory[valid].double().numpy()
    listed = []
    for probe in found:
        r = _correlation(numbers, probe.values.transpose(0, 1)[valid].double().numpy())
        unit = int(np.abs(r).argmax())
        if abs(r[unit]) >= FOLLOWS:
            listed.append(Follower(track.name, name, unit + 1, probe.name, round(float(r[unit]), DIGITS)))
    return sorted(listed, key=lambda follower: -abs(follower.correlation))[:LISTED]


def _correlation(units: np.ndarray[Any, Any], probe: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(H,) Pearson correlation of each column of (N, H) with (N,); 0 where either is constant or unknown."""
    known = np.isfinite(probe)
    units, probe = units[known], probe[known]
    if len(probe) < 3:
        return np.zeros(units.shape[1])
    units, probe = units - units.mean(axis=0), probe - probe.mean()
    size = np.sqrt((units**2).sum(axis=0) * (probe**2).sum())
    found: np.ndarray[Any, Any] = np.divide(units.T @ probe, size, out=np.zeros(units.shape[1]), where=size > 1e-12)
    return found


def _memory(track: Track) -> tuple[str, Tensor]:
    """The part of the state that gates keep, else its first part: name, and (T, B, H) after each step."""
    after = after_each_step(track)
    state, x = track.states[0], track.inputs[0][:, 0]
    names = list(kept(track.cell, evaluate(track.cell, x, state), state)) if gate_functions(track.cell) else []
    name = names[0] if names else next(iter(after))
    return name, after[name]


def after_each_step(track: Track) -> dict[str, Tensor]:
    """By part of the state, (T, B, ...) what it is after each step."""
    states = [*track.states[1:], track.final]
    return {
        name: torch.stack([state[place] for state in states]).detach()
        for place, name in enumerate(track.final._fields)
        if track.final[place].dim() == 2
    }


def _examples(batch: Batch) -> list[int]:
    """Rows of unequal lengths: the longest first."""
    order = torch.argsort(batch.lengths, descending=True, stable=True).tolist()
    filled = [row for row in order if int(batch.lengths[row]) > 0]
    return filled[:: max(1, len(filled) // EXAMPLES)][:EXAMPLES]


def _units(track: Track, following: list[Follower]) -> list[int]:
    """Units to show: those that follow something, then the most active ones."""
    _, memory = _memory(track)
    active = memory[track.valid].std(dim=0, correction=0).argsort(descending=True, stable=True).tolist()
    return list(dict.fromkeys([follower.unit - 1 for follower in following] + active))[:UNITS]


def _layer(track: Track, row: int, units: list[int]) -> dict[str, Any]:
    """States after each step, the memory first, and gates, of one row: (units, steps)."""
    last = int(track.lengths[row])
    steps = slice(max(last - STEPS, 0), last)
    first, _ = _memory(track)
    states = sorted(after_each_step(track).items(), key=lambda part: part[0] != first)
    parts = [{"name": name, "kind": "state", "values": _rounded(v[steps, row], units)} for name, v in states]
    functions = {n: f for n, f in gate_functions(track.cell).items() if not n.endswith("_next")}
    if functions and last:
        before = [[part[row] for part in state] for state in track.states[steps]]
        state = type(track.final)(*(torch.stack(part) for part in zip(*before, strict=True)))
        values = evaluate(track.cell, torch.cat(track.inputs, dim=1)[row, steps], state)
        parts += [{"name": n, "kind": f, "values": _rounded(values[n], units)} for n, f in functions.items()]
    return {"name": track.name, "units": [unit + 1 for unit in units], "first": steps.start + 1, "parts": parts}


def _rounded(values: Tensor, units: list[int]) -> list[list[float]]:
    """(T, H) to rows of chosen units; a unit that a part has not (a projection) is left out."""
    chosen = [unit for unit in units if unit < values.shape[1]]
    return [[round(value, DIGITS) for value in line] for line in values[:, chosen].T.double().tolist()]
