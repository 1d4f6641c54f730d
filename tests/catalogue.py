"""Every cell, input kind and output kind, each with a table and a recipe that exercise it.

The rules in `conformance/` run over `CASES`; a test fails when a kind has no entry here.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from seqloom.batch import Encoded, encode
from seqloom.cells.cell import Cell
from seqloom.dataset import Dataset, read_dataset, training_columns
from seqloom.lookup import find, names
from seqloom.model import SequenceModel
from seqloom.outputs.output import Output, Places, Shape
from seqloom.recipe import parse_recipe

Table = Literal["examples", "series", "texts"]
Entries = dict[str, dict[str, Any]]


class LeakyState(NamedTuple):
    """h: output, (B, H). seen: steps so far, (B, 1)."""

    h: Tensor
    seen: Tensor


class Leaky(Cell):
    """A user's own cell: nothing but its weights, `initial_state` and `step`."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.mix = nn.Linear(input_size + hidden_size, hidden_size)

    def initial_state(self, batch_size: int) -> LeakyState:
        """Zeros."""
        weight = self.mix.weight
        return LeakyState(weight.new_zeros(batch_size, self.hidden_size), weight.new_zeros(batch_size, 1))

    def step(self, projected: Tensor, state: LeakyState) -> tuple[Tensor, LeakyState]:
        """A leak of the last output, and a new part that fades as the sequence goes on."""
        fresh = torch.tanh(self.mix(torch.cat([projected, state.h], dim=-1)))
        seen = state.seen + 1
        h = 0.7 * state.h + fresh / seen.sqrt()
        return h, LeakyState(h, seen)


OWN_CELL = "catalogue:Leaky"
CELLS: tuple[str, ...] = (
    "decay_gru",
    "gru",
    "ind_rnn",
    "layer_norm_gru",
    "layer_norm_lstm",
    "lstm",
    "min_gru",
    "min_lstm",
    "peephole_lstm",
    "projected_lstm",
    "relu_rnn",
    "rg_lru",
    "rnn",
    "slstm",
    "sru",
    OWN_CELL,
)

# By kind and by the table in which it can stand: entries of a recipe.
INPUTS: dict[str, dict[Table, Entries]] = {
    "series": {
        "examples": {"pair": {"kind": "series", "columns": ["pair"], "scale": "own", "lags": [1, 3]}},
        "series": {
            "temperature": {"kind": "series", "columns": ["temperature", "wind"], "lags": [1]},
            "promotion": {"kind": "series", "columns": ["promotion"], "role": "known"},
        },
    },
    "category": {
        "examples": {"region": {"kind": "category"}, "word": {"kind": "category", "role": "past"}},
        "series": {
            "region": {"kind": "category"},
            "mood": {"kind": "category", "role": "past"},
            "event": {"kind": "category", "role": "known", "size": 2},
        },
        "texts": {"region": {"kind": "category"}},
    },
    "elapsed": {"examples": {"gap": {"kind": "elapsed"}}, "series": {"gap": {"kind": "elapsed"}}},
    "items": {"examples": {"word": {"kind": "items", "size": 5}, "films": {"kind": "items", "size": 3}}},
    "number": {
        "examples": {"age": {"kind": "number"}},
        "series": {"capacity": {"kind": "number"}},
        "texts": {"age": {"kind": "number"}},
    },
    "vector": {"examples": {"profile": {"kind": "vector", "size": 3}}, "texts": {"profile": {"kind": "vector"}}},
    # Takes the place of the base table's text of one column.
    "text": {"texts": {"review": {"kind": "text", "columns": ["question", "review"], "size": 3, "max_length": 5}}},
    "calendar": {
        "series": {
            "calendar": {
                "kind": "calendar",
                "features": ["hour", "day_of_week", "day_of_month", "day_of_year", "month"],
                "harmonics": 2,
                "holidays": "US",
            }
        }
    },
}
# Each cell stands under a vector and under a forecast; the other outputs read the same core.
EVERY_CELL = ("category", "forecast")
WRAPPED = {"recurrent_dropout": 0.3, "zoneout": 0.2, "learned_state": True}
OUTPUTS: dict[str, dict[Table, Entries]] = {
    "category": {
        "examples": {"kind": {"kind": "category", "pooling": ["mean", "last"], "label_smoothing": 0.1}},
        "texts": {"kind": {"kind": "category", "pooling": ["max"]}},
    },
    "number": {
        "examples": {"price": {"kind": "number", "pooling": ["max"]}},
        "texts": {"price": {"kind": "number"}},
    },
    "tags": {"texts": {"topics": {"kind": "tags", "pooling": ["mean"]}}},
    "span": {"texts": {"part": {"kind": "span", "within": "review", "longest": 3, "no_answer": True}}},
    "items": {
        "examples": {
            "next": {"kind": "items", "columns": ["word"], "top": 2, "tied": False, "samples": 3},
            "film": {
                "kind": "items",
                "columns": ["films"],
                "tied": False,
                "repeats": False,
                "negatives": 3,
                "asked_from": "first",
            },
        }
    },
    "liked": {
        "examples": {
            "stars": {"kind": "liked", "of": "films", "at_least": 3, "asked_from": "first", "dropout": 0.1},
        }
    },
    "labels": {"examples": {"tags": {"kind": "labels"}}, "series": {"phase": {"kind": "labels"}}},
    "text": {
        "texts": {
            "reply": {
                "kind": "text",
                "tokens": "word",
                "size": 3,
                "max_length": 5,
                "input_feeding": True,
                "label_smoothing": 0.1,
                "beam_size": 2,
                "n_best": 2,
            }
        },
        "examples": {
            "reply": {"kind": "text", "tokens": "character", "size": 4, "attention": "multi_head", "heads": 2}
        },
    },
    "forecast": {
        "series": {"coming": {"kind": "forecast", "columns": ["sales", "visits"], "horizon": 3, "intervals": [80]}}
    },
}
# Inputs without which an output has nothing to ask about.
ASKED_ABOUT: dict[str, Entries] = {"liked": {"films": {"kind": "items", "size": 3}}}
# Front ends: as long as the sequence, with a look ahead, and shorter.
FRONT: list[dict[str, Any]] = [
    {"channels": 3, "kernel_size": 3, "residual": True, "layer_norm": True},
    {"channels": 4, "kernel_size": 2, "dilation": 2},
]
FRONT_AHEAD: list[dict[str, Any]] = [{"channels": 4, "kernel_size": 4, "causal": False, "residual": True}]
FRONT_SHORTER: list[dict[str, Any]] = [
    {"channels": 3, "kernel_size": 3, "stride": 2, "causal": False},
    {"channels": 4, "kernel_size": 2, "stride": 2, "residual": True},
]
BASE: dict[Table, Entries] = {
    "examples": {"x": {"kind": "series"}},
    "series": {"past": {"kind": "series", "columns": ["sales", "visits"], "scale": "own", "lags": [2, 5]}},
    "texts": {"review": {"kind": "text", "tokens": "character", "size": 3, "max_length": 7}},
}


@dataclass(frozen=True)
class Case:
    """A recipe over one of the two tables."""

    name: str
    table: Table
    inputs: Entries
    outputs: Entries
    core: dict[str, Any]

    @property
    def causal(self) -> bool:
        """Whether no answer waits for later steps."""
        held = any(entry.get("hold") for entry in self.outputs.values())
        ahead = any(not layer.get("causal", True) for layer in self.core.get("front", []))
        return not (held or ahead or self.core.get("bidirectional"))

    def recipe(self, **training: Any) -> dict[str, Any]:
        """The plain form of the recipe."""
        series = {"time": "date", "id": "shop", "context_length": 9, "split": {"valid": 5, "test": 5}}
        data = series if self.table == "series" else {"id": "name", "split": {"column": "split"}}
        return {
            "data": data,
            "inputs": self.inputs,
            "core": {"hidden_size": 4, **self.core},
            "outputs": self.outputs,
            "training": {"steps": 4, "batch_size": 8, "validate_every": 2, "warmup_steps": 1, "seed": 3, **training},
        }

    def frame(self) -> pl.DataFrame:
        """Its table."""
        frames = {"examples": examples_frame, "series": series_frame, "texts": texts_frame}
        return frames[self.table]()


def _cells(table: Table) -> list[str]:
    """Cells that can read the table: one that reads elapsed time needs a table that tells it."""
    return [c for c in CELLS if table in INPUTS["elapsed"] or not find("cells", c, Cell).reads_elapsed]


def _core(cell: str) -> dict[str, Any]:
    """A core of that cell; one that reads elapsed time is shown it."""
    return {"cell": cell} | ({"elapsed": "gap"} if find("cells", cell, Cell).reads_elapsed else {})


def _cases() -> list[Case]:
    found = []
    for kind, tables in OUTPUTS.items():
        for table, outputs in tables.items():
            cells, base = _cells(table), BASE[table] | ASKED_ABOUT.get(kind, {})
            for given in INPUTS:
                if table in INPUTS[given]:
                    core = _core(cells[len(found) % len(cells)])
                    inputs = base | INPUTS[given][table] | (INPUTS["elapsed"][table] if len(core) > 1 else {})
                    found.append(Case(f"{kind}-{table}-{given}", table, inputs, outputs, core))
            every = {name: entry for given in INPUTS.values() for name, entry in given.get(table, {}).items()}
            for cell in cells if kind in EVERY_CELL else ("gru", "lstm", OWN_CELL):
                core = _core(cell) | {"num_layers": 2}
                found.append(Case(f"{kind}-{table}-all-{cell}", table, base | every, outputs, core))
            if kind in EVERY_CELL:
                for cell, options in (("projected_lstm", {"proj_size": 3}), (OWN_CELL, {})):
                    core = {"cell": cell, "options": options, "num_layers": 2, **WRAPPED}
                    found.append(Case(f"{kind}-{table}-wrapped-{cell}", table, base | every, outputs, core))
            both = {"cell": "lstm", "bidirectional": not find("outputs", kind, Output).next_asked}
            found.append(Case(f"{kind}-{table}-both-ways", table, base | every, outputs, both))
            for name, front, answers in _fronts(kind, outputs):
                core = {"cell": "gru", "front": front}
                found.append(Case(f"{kind}-{table}-all-{name}", table, base | every, answers, core))
    tied = {name: {**entry, "tied": True} for name, entry in OUTPUTS["items"]["examples"].items()}
    found.append(Case("items-examples-tied", "examples", INPUTS["items"]["examples"], tied, {"cell": "gru"}))
    return found


def _fronts(kind: str, outputs: Entries) -> Iterator[tuple[str, list[dict[str, Any]], Entries]]:
    """The front ends before which an output can stand, and what it says then."""
    yield "front", FRONT, outputs
    if not find("outputs", kind, Output).next_asked:
        yield "front-ahead", FRONT_AHEAD, outputs
    if find("outputs", kind, Output).shape is Shape.VECTOR:
        yield "front-shorter", FRONT_SHORTER, outputs
    if kind == "labels":
        yield "front-shorter", FRONT_SHORTER, {name: {**entry, "hold": True} for name, entry in outputs.items()}


def missing_entries() -> list[str]:
    """Kinds that the package has and the catalogue lacks, or the other way round."""
    rooms: dict[str, set[str]] = {
        "cells": set(CELLS) - {OWN_CELL},
        "inputs": set(INPUTS),
        "outputs": set(OUTPUTS),
    }
    return [f"{room}: {name}" for room, entries in rooms.items() for name in sorted(entries ^ set(names(room)))]


@lru_cache
def examples_frame(rows: int = 36) -> pl.DataFrame:
    """Examples of 0 to 8 steps with holes everywhere; the last rows hold words that training never shows."""
    random = np.random.default_rng(7)
    lengths = [0, 1, *random.integers(1, 9, rows - 2).tolist()]
    part = ["train"] * (rows - 16) + ["valid"] * 8 + ["test"] * 8

    def holes(values: list[Any]) -> list[Any]:
        return [None if random.random() < 0.2 else value for value in values]

    columns: dict[str, list[Any]] = {
        "name": [f"row {k}" for k in range(rows)],
        "split": part,
        "x": [holes(random.normal(5, 2, n).tolist()) for n in lengths],
        "pair": [[holes(step) for step in random.normal(-1, 9, (n, 2)).tolist()] for n in lengths],
        "films": [random.permutation([f"f{k}" for k in range(12)])[:n].tolist() for n in lengths],
        "first": [2.0] * (rows - 16) + [float(max(n, 1)) for n in lengths[-16:]],
        "word": [holes([f"w{k}" for k in random.integers(0, 4, n).tolist()]) for n in lengths],
        "gap": [holes(random.exponential(3, n).tolist()) for n in lengths],
        "region": holes([f"r{k % 3}" for k in range(rows - 4)]) + ["nowhere"] * 4,
        "age": holes(random.normal(40, 9, rows).tolist()),
        "profile": [random.normal(0, 1, 3).tolist() for _ in range(rows)],
        "kind": [f"k{k % 3}" for k in range(rows - 2)] + [None, None],
        "price": [*random.normal(100, 30, rows - 1).tolist(), None],
        "tags": [holes([f"t{k}" for k in random.integers(0, 3, n).tolist()]) for n in lengths],
        "reply": [
            None,
            "",
            *[" ".join(f"r{k}" for k in random.integers(0, 4, 1 + n % 6)) for n in range(rows - 3)],
            "new",
        ],
    }
    random = np.random.default_rng(13)
    columns["stars"] = [holes(random.integers(1, 6, n).astype(float).tolist()) for n in lengths]
    return pl.DataFrame(columns, strict=False)


@lru_cache
def texts_frame() -> pl.DataFrame:
    """The examples with two texts each, of 0 to 8 words; some are missing, and the last hold words of their own."""
    random = np.random.default_rng(5)
    frame = examples_frame()

    def texts(longest: int) -> list[str | None]:
        counts = [0, 1, *random.integers(1, longest, len(frame) - 2).tolist()]
        return [" ".join(f"w{k}" for k in random.integers(0, 6, n)) or None for n in counts]

    columns = {"question": [None, None, *texts(4)[2:]], "review": [*texts(9)[:-1], "only here"]}
    starts = [None if text is None else text.split()[0] for text in columns["review"]]
    columns["topics"] = [None if k % 5 == 0 else ["a;b", ";", "b", "c; a"][k % 4] for k in range(len(frame))]
    columns["part"] = [None if k % 4 == 0 else "absent" if k % 7 == 0 else starts[k] for k in range(len(starts))]
    texts_of = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    return frame.select("name", "split", "region", "age", "profile", "kind", "price", "reply").hstack(texts_of)


@lru_cache
def series_frame() -> pl.DataFrame:
    """Four shops: a long one, one with gaps, one shorter than the context, and one without any history."""
    random = np.random.default_rng(11)
    begin = datetime.date(2024, 6, 20)
    rows: list[dict[str, Any]] = []
    for s, (shop, length) in enumerate([("long", 60), ("gaps", 60), ("short", 4), ("new", 0)]):
        for k in range((57 if shop == "short" else 60) - length, 63):
            observed = k < 60 and not (shop == "gaps" and 20 <= k < 27)
            if shop == "gaps" and 30 <= k < 33:
                continue
            if shop == "new" and k < 57:
                continue
            if shop == "short" and k >= 60:
                observed = False
            observed = observed and shop != "new"
            rows.append(
                {
                    "shop": shop,
                    "date": (begin + datetime.timedelta(days=k)).isoformat(),
                    "sales": 10.0 * s + 3 * np.sin(k) + random.normal() if observed else None,
                    "visits": 100.0 + 9 * np.cos(k) + random.normal() if observed and k % 9 else None,
                    "phase": f"p{k // 4 % 3}" if observed else None,
                    "temperature": random.normal(15, 5) if k % 7 else None,
                    "wind": random.normal(),
                    "promotion": float(random.integers(0, 2)),
                    "gap": random.exponential(3) if k % 4 else None,
                    "mood": f"m{random.integers(0, 3)}" if k % 5 else None,
                    "event": f"e{random.integers(0, 4)}" if k % 3 else None,
                    "region": "north" if s % 2 else None,
                    "capacity": 5.0 * s if s else None,
                }
            )
    return pl.DataFrame(rows, infer_schema_length=None)


@dataclass(frozen=True)
class Built:
    """A model with unequal random weights, and its data."""

    model: SequenceModel
    dataset: Dataset
    encoded: Encoded
    places: Places


CASES = _cases()
BY_NAME = {case.name: case for case in CASES}


def build(case: Case, seed: int = 0) -> Built:
    """The case's model, fitted and filled with random weights of torch's default type."""
    model = SequenceModel(parse_recipe(case.recipe()))
    dataset = read_dataset(model, case.frame())
    model.fit(*training_columns(model, dataset))
    torch.manual_seed(seed)
    model.build()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.4)
    encoded = encode(dataset.segments, model.inputs, model.outputs)
    return Built(model.eval(), dataset, encoded, all_places(model, dataset))


def all_places(model: SequenceModel, dataset: Dataset) -> Places:
    """Rows of every length: whole examples; windows of each series from none of its history to all of it."""
    numbers = np.arange(len(dataset.segments))
    if not model.horizon:
        lengths = dataset.segments.lengths
        return Places(numbers, np.zeros_like(lengths), lengths, lengths)
    found = [(s, origin) for s in numbers for origin in sorted({0, int(dataset.ends[s]) // 2, int(dataset.ends[s])})]
    segment, origins = np.array(found, np.int64).T
    return Places(segment, np.maximum(origins - 9, 0), origins, origins + model.horizon)
