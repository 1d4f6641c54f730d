"""Planted diseases are named, by their first name, and healthy runs are left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from classic_tasks import adding, adding_recipe, copy, copy_recipe, digits, digits_recipe
from clinic import TRAINING, Plant, admitted, each_cell, seen

from flows import daily, forecast_recipe
from seqloom.doctor.diseases import merged
from seqloom.recipe import override, parse_recipe


def images(core: dict[str, Any] | None = None, **training: Any) -> tuple[dict[str, Any], pl.DataFrame]:
    """Every other pixel of the digits, with a memory that is long enough."""
    frame = digits()[:500].with_columns(pl.col("pixel").list.gather_every(2))
    core = {"hidden_size": 12, **(core or {"cell": "lstm", "memory_steps": 60})}
    return digits_recipe(core, TRAINING | training), frame


def echoes(**core: Any) -> tuple[dict[str, Any], pl.DataFrame]:
    """Symbols to be said again 24 steps later."""
    return copy_recipe({"cell": "lstm", "hidden_size": 12, **core}, TRAINING), copy(600, 20, copied=4)


def short(**core: Any) -> tuple[dict[str, Any], pl.DataFrame]:
    """Two of eight numbers to be added."""
    return adding_recipe({"hidden_size": 12, **core}, TRAINING), adding(600, 8)


def pieces(steps: int) -> tuple[dict[str, Any], pl.DataFrame]:
    """The same in pieces, by a cell that could remember."""
    recipe, frame = echoes(memory_steps=60)
    recipe["training"] = TRAINING | {"tbptt_steps": steps}
    return recipe, frame


@each_cell
def wild(cell: Any) -> None:
    cell.weight_hh.mul_(3 / torch.linalg.eigvals(cell.weight_hh).abs().max())


@each_cell
def loud(cell: Any) -> None:
    cell.weight_ih.mul_(300)


@each_cell
def stuck(cell: Any) -> None:
    cell.bias_ih[-cell.hidden_size // 2 :].sub_(30)  # half of the output gates


SLOW = {"lr": 1e-4}
PLANTED: dict[str, tuple[tuple[dict[str, Any], pl.DataFrame], Plant | None, str, set[str]]] = {
    "a rate of 1": (images(lr=1.0, steps=100), None, "learning rate too high", {"training.lr"}),
    "a rate of 1e-6": (images(lr=1e-6), None, "learning rate too low", {"training.lr"}),
    "clipping at a thousandth": (images(max_norm=1e-3), None, "clipping all the time", {"training.max_norm"}),
    "a recurrence that stretches": (images({"cell": "rnn"}, **SLOW), wild, "exploding gradients", {"core.orthogonal"}),
    "a recurrence that shrinks": (
        echoes(cell="rnn"),
        None,
        "vanishing gradients",
        {"core.cell", "core.memory_steps"},
    ),
    "inputs far too large": (images(**SLOW), loud, "saturated gates", {"core.cell"}),
    "closed output gates": (images(**SLOW), stuck, "dead units", {"core.cell"}),
    "pieces of ten steps": (
        pieces(10),
        None,
        "pieces too short for the data",
        {"training.tbptt_steps"},
    ),
    "an LSTM that forgets": (echoes(), None, "memory too short for the data", {"core.memory_steps"}),
    "a GRU that forgets": (echoes(cell="gru"), None, "memory too short for the data", {"core.memory_steps"}),
    "a minGRU that forgets": (echoes(cell="min_gru"), None, "memory too short for the data", {"core.memory_steps"}),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_disease_is_named(name: str, tmp_path: Path) -> None:
    (recipe, frame), plant, disease, keys = PLANTED[name]
    findings, found = seen(admitted(recipe, frame, tmp_path, plant))
    assert [diagnosis.name for diagnosis in found] == [disease], (found, findings)
    assert {edit.key for edit in found[0].edits} == keys
    for edit in merged(found):
        override(recipe, str(edit))
    parse_recipe(recipe)


HEALTHY: dict[str, tuple[dict[str, Any], pl.DataFrame]] = {
    "lstm": short(cell="lstm"),
    "gru": short(cell="gru"),
    "rnn": short(cell="rnn"),
    "layer_norm_lstm": short(cell="layer_norm_lstm"),
    "two layers, both ways": short(cell="gru", num_layers=2, bidirectional=True),
    "an orthogonal rnn": images({"cell": "rnn", "orthogonal": True}),
    "a long memory": echoes(memory_steps=60),
    "long pieces": pieces(28),
    "adding with a long memory": (
        adding_recipe({"cell": "gru", "hidden_size": 12, "memory_steps": 60}, TRAINING),
        adding(600, 30),
    ),
    "a forecast": (forecast_recipe(steps=60, validate_every=20), daily(120)),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_is_left_alone(name: str, tmp_path: Path) -> None:
    findings, found = seen(admitted(*HEALTHY[name], tmp_path))
    assert found == [], findings
