"""The artefact: one file that answers the same elsewhere, runs no code, and is refused when it cannot be trusted."""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from torch import nn

import seqloom
from catalogue import BY_NAME, CASES, OWN_CELL, Case
from flows import Outcome, environment
from seqloom.artefact import load_artefact, save_artefact
from seqloom.batch import encode
from seqloom.dataset import coming_places, part_places, read_dataset, training_columns
from seqloom.errors import ArtefactError
from seqloom.evaluate import calibrate
from seqloom.model import SequenceModel
from seqloom.outputs.output import Array
from seqloom.predict import answer
from seqloom.recipe import parse_recipe
from seqloom.saving import read_tensors, write_tensors

CHOSEN = [case for case in CASES if "-all-" in case.name or case.core.get("bidirectional")]


def made(case: Case) -> SequenceModel:
    """A calibrated model with random weights."""
    model = SequenceModel(parse_recipe(case.recipe()))
    dataset = read_dataset(model, case.frame())
    model.fit(*training_columns(model, dataset))
    torch.manual_seed(1)
    model.build()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.3)
    calibrate(model, dataset, part_places(model, dataset, "valid"))
    return model.eval()


def answers(model: SequenceModel, case: Case) -> dict[str, Array]:
    """What a model says about the rows of its table."""
    dataset = read_dataset(model, case.frame(), learn=False)
    encoded = encode(dataset.segments, model.inputs, model.outputs)
    return answer(model, encoded, coming_places(model, dataset)).values


def digest(found: dict[str, Array]) -> str:
    """All bits of all answers."""
    return hashlib.sha256(b"".join(bits(found[name]) for name in sorted(found))).hexdigest()


def bits(values: Array) -> bytes:
    """Numbers as they lie in memory; of texts, their tokens and scores."""
    if values.dtype != object:
        return np.ascontiguousarray(values).tobytes()
    return repr([(text.tokens, float(text.score).hex()) for text in values.flatten()]).encode()


def vary(values: Array) -> bool:
    """Whether answers differ from row to row."""
    numbers = values if values.dtype != object else np.array([text.score for text in values.flatten()])
    return bool(np.isfinite(numbers).any()) and float(np.nanstd(numbers)) > 0


def digest_of_file(path: str, case: str) -> str:
    """For another process: what a file says about the rows of a case."""
    torch.set_num_threads(1)
    return digest(answers(load_artefact(Path(path), trusted=[OWN_CELL]).model, BY_NAME[case]))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.seqloom"
    save_artefact(path, made(BY_NAME["forecast-series-all-gru"]), {"steps": 4})
    return path


@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: case.name)
def test_loaded_is_saved(case: Case, tmp_path: Path) -> None:
    model = made(case)
    path, again = tmp_path / "a.seqloom", tmp_path / "b.seqloom"
    save_artefact(path, model, {"metrics": {"MAE": 1.5}})
    loaded = load_artefact(path, trusted=[OWN_CELL])
    assert loaded.receipt == {"metrics": {"MAE": 1.5}}
    assert loaded.model.recipe == model.recipe
    assert loaded.model.fitted() == model.fitted()
    expected = answers(model, case)
    assert digest(answers(loaded.model, case)) == digest(expected)
    assert all(vary(values) for values in expected.values())
    save_artefact(again, loaded.model, loaded.receipt)
    assert again.read_bytes() == path.read_bytes()


def test_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    expected = {}
    for case in CHOSEN:
        model = made(case)
        save_artefact(tmp_path / f"{CASES.index(case)}.seqloom", model, {})
        expected[case.name] = digest(answers(model, case))
    paths = {case.name: str(tmp_path / f"{CASES.index(case)}.seqloom") for case in CHOSEN}
    code = (
        "import importlib.util, json, sys, catalogue\n"
        f"spec = importlib.util.spec_from_file_location('test_artefact', {__file__!r})\n"
        "there = importlib.util.module_from_spec(spec); spec.loader.exec_module(there)\n"
        "paths = json.loads(sys.argv[1])\n"
        "print(json.dumps({name: there.digest_of_file(path, name) for name, path in paths.items()}))"
    )
    command = [sys.executable, "-c", code, json.dumps(paths)]
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout) == expected


class Canary:
    """A pickle that leaves a file when it is loaded."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.place,))


@pytest.mark.parametrize("kind", ["pickle", "torch", "zip", "numpy"])
def test_nothing_that_could_run_code_is_loaded(kind: str, tmp_path: Path) -> None:
    canary, path = tmp_path / "canary", tmp_path / "model.seqloom"
    bait = Canary(canary)
    if kind == "pickle":
        path.write_bytes(pickle.dumps(bait))
    elif kind == "torch":
        torch.save(bait, path)
    elif kind == "numpy":
        with path.open("wb") as file:
            np.save(file, np.array([bait], dtype=object), allow_pickle=True)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("data.pkl", pickle.dumps(bait))
    named = {"pickle": "a Python pickle", "numpy": "a NumPy array"}.get(kind, "a zip archive")
    with pytest.raises(ArtefactError, match=f"{path.name}: this is {named}"):
        seqloom.load(path)
    assert not canary.exists()


def test_a_truncated_file_is_refused(saved: Path) -> None:
    data = saved.read_bytes()
    for part in range(0, 64, 3):
        saved.write_bytes(data[: len(data) * part // 64])
        with pytest.raises(ArtefactError, match=r"model\.seqloom: (truncated|the file is empty)"):
            load_artefact(saved)
    saved.write_bytes(data + b"\0")
    with pytest.raises(ArtefactError, match="too long"):
        load_artefact(saved)


def test_a_flipped_bit_is_refused(saved: Path, seed: int) -> None:
    data = saved.read_bytes()
    chance = np.random.default_rng(seed)
    for place in [*range(8), *chance.integers(8, len(data), 60).tolist()]:
        broken = bytearray(data)
        broken[place] ^= 1 << int(chance.integers(8))
        saved.write_bytes(broken)
        with pytest.raises(ArtefactError):
            load_artefact(saved)


def test_a_newer_format_is_refused(saved: Path) -> None:
    data = saved.read_bytes()
    assert data.count(b'"version":"1"') == 1
    saved.write_bytes(data.replace(b'"version":"1"', b'"version":"2"'))
    with pytest.raises(ArtefactError, match="written by a newer seqloom, format 2; this one reads up to 1: upgrade"):
        load_artefact(saved)


def rewrite(path: Path, change: Callable[[dict[str, torch.Tensor], dict[str, Any]], None]) -> None:
    """Save other content under a valid checksum."""
    tensors, document = read_tensors(path)
    change(tensors, document)
    write_tensors(path, tensors, document)


def test_weights_of_another_shape_are_refused(saved: Path) -> None:
    name = "core.layers.0.0.weight_hh"

    def widen(tensors: dict[str, torch.Tensor], document: dict[str, Any]) -> None:
        tensors[name] = torch.zeros(3, 4)

    rewrite(saved, widen)
    message = rf"weight {name} has shape \(3, 4\); the recipe expects \(12, 4\); ask for the file again"
    with pytest.raises(ArtefactError, match=message):
        load_artefact(saved)


def test_missing_and_additional_weights_are_refused(saved: Path) -> None:
    name = "core.layers.0.0.bias_hh"
    rewrite(saved, lambda tensors, document: tensors.__delitem__(name))
    with pytest.raises(ArtefactError, match=rf"weight {name} has shape None; the recipe expects \(12,\)"):
        load_artefact(saved)
    rewrite(saved, lambda tensors, document: tensors.update({name: torch.zeros(12), "extra": torch.zeros(1)}))
    with pytest.raises(ArtefactError, match=r"weight extra has shape \(1,\); the recipe expects None"):
        load_artefact(saved)


def words_of(document: dict[str, Any], room: str, name: str) -> list[str]:
    words: list[str] = document["fitted"][room][name]["words"]
    return words


@pytest.mark.parametrize(("room", "name"), [("inputs", "region"), ("outputs", "kind")])
def test_a_vocabulary_of_equal_size_is_refused(room: str, name: str, tmp_path: Path) -> None:
    """Words changed by hand or in another order: all shapes fit, and every answer would be about something else."""
    case, path = BY_NAME["category-examples-category"], tmp_path / "model.seqloom"
    save_artefact(path, made(case), {})
    whole = path.read_bytes()

    def turn(tensors: dict[str, torch.Tensor], document: dict[str, Any]) -> None:
        words_of(document, room, name).reverse()

    def rename(tensors: dict[str, torch.Tensor], document: dict[str, Any]) -> None:
        words_of(document, room, name)[0] += "x"

    for change in (turn, rename):
        path.write_bytes(whole)
        rewrite(path, change)
        message = rf"model\.seqloom: .*the vocabulary or scale of {room}\.{name} is not the one that the weights were "
        with pytest.raises(ArtefactError, match=message + r"trained with \(SHA-256 \w{8}, expected \w{8}\); ask for"):
            load_artefact(path)


def test_what_another_model_learned_is_refused(tmp_path: Path) -> None:
    """Two models of one recipe and equal sizes: neither takes what the other fitted, nor its weights."""
    case, paths = BY_NAME["category-examples-category"], [tmp_path / "one.seqloom", tmp_path / "two.seqloom"]
    frame = case.frame()
    swapped = frame.with_columns(pl.col("region").str.replace_all("r", "s"))
    for path, table in zip(paths, (frame, swapped), strict=True):
        model = SequenceModel(parse_recipe(case.recipe()))
        model.fit(*training_columns(model, read_dataset(model, table)))
        model.build()
        save_artefact(path, model, {})
        load_artefact(path)
    tensors, document = read_tensors(paths[0])
    others, other = read_tensors(paths[1])
    assert {n: t.shape for n, t in tensors.items()} == {n: t.shape for n, t in others.items()}
    assert document["fitted"] != other["fitted"]
    for weights, fitted in ((tensors, other["fitted"]), (others, document["fitted"])):
        write_tensors(paths[0], weights, {**document, "fitted": fitted})
        with pytest.raises(ArtefactError, match=r"the vocabulary or scale of inputs\.region is not the one"):
            load_artefact(paths[0])


def test_a_changed_scale_and_a_missing_digest_are_refused(saved: Path) -> None:
    whole = saved.read_bytes()

    def shift(tensors: dict[str, torch.Tensor], document: dict[str, Any]) -> None:
        document["fitted"]["inputs"]["capacity"]["mean"][0] += 1e-9

    rewrite(saved, shift)
    with pytest.raises(ArtefactError, match=r"the vocabulary or scale of inputs\.capacity is not the one"):
        load_artefact(saved)
    saved.write_bytes(whole)
    rewrite(saved, lambda tensors, document: tensors.__delitem__("sha256.inputs.capacity"))
    with pytest.raises(ArtefactError, match=r"of inputs\.capacity .* \(SHA-256 \w{8}, expected None\)"):
        load_artefact(saved)


def test_a_file_from_before_digests_is_read(saved: Path) -> None:
    def strip(tensors: dict[str, torch.Tensor], document: dict[str, Any]) -> None:
        for name in [name for name in tensors if name.startswith("sha256.")]:
            del tensors[name]

    expected = load_artefact(saved).model.fitted()
    rewrite(saved, strip)
    assert load_artefact(saved).model.fitted() == expected


@pytest.mark.parametrize("part", ["recipe", "fitted"])
def test_a_part_that_is_missing_is_refused(saved: Path, part: str) -> None:
    rewrite(saved, lambda tensors, document: document.__delitem__(part))
    with pytest.raises(ArtefactError, match=rf"model\.seqloom: .*{part}.*; ask for the file again"):
        load_artefact(saved)


def test_a_huge_model_is_refused_by_its_recipe(saved: Path) -> None:

    def grow(tensors: dict[str, torch.Tensor], document: dict[str, Any]) -> None:
        assert document["recipe"].count("hidden_size: 4\n") == 1
        document["recipe"] = document["recipe"].replace("hidden_size: 4\n", f"hidden_size: {2**31}\n")

    rewrite(saved, grow)
    with pytest.raises(ArtefactError, match=r"core\.hidden_size: got 2147483648; input should be less than"):
        load_artefact(saved)


@pytest.mark.parametrize("room", ["cell", "input", "output"])
def test_import_paths_only_when_trusted(room: str, saved: Path) -> None:
    """A file must never choose what code runs."""
    path = "this.module.is.never:Imported"

    def plant(tensors: dict[str, torch.Tensor], document: dict[str, Any]) -> None:
        recipe = yaml.safe_load(document["recipe"])
        place = {
            "cell": (recipe["core"], "cell"),
            "input": (recipe["inputs"]["region"], "kind"),
            "output": (recipe["outputs"]["coming"], "kind"),
        }[room]
        place[0][place[1]] = path
        document["recipe"] = yaml.safe_dump(recipe, sort_keys=False)

    rewrite(saved, plant)
    with pytest.raises(ArtefactError, match=f"this file wants to run code from '{path}'") as refused:
        seqloom.load(saved)
    assert f"if you trust it, pass it by name (trusted=['{path}'])" in str(refused.value)
    with pytest.raises(ArtefactError, match=r"cannot import 'this\.module\.is\.never:Imported'"):
        seqloom.load(saved, trusted=[path])


def test_a_user_s_cell_needs_trust(tmp_path: Path, cli: Callable[..., Outcome]) -> None:
    case = BY_NAME[f"forecast-series-all-{OWN_CELL}"]
    path = tmp_path / "model.seqloom"
    save_artefact(path, made(case), {})
    with pytest.raises(ArtefactError, match=f"wants to run code from '{OWN_CELL}'"):
        seqloom.load(path)
    assert type(seqloom.load(path, trusted=[OWN_CELL]).model.core.cells()[0][0]).__name__ == "Leaky"
    table = tmp_path / "table.csv"
    case.frame().with_columns(pl.col("event").fill_null("e0"), pl.col("gap").fill_null(1)).write_csv(table)
    refused = cli("predict", path, "--data", table, "-o", tmp_path / "answers.csv")
    assert refused.code == 1
    assert refused.err.startswith(f"error: {path}: ")
    assert f"this file wants to run code from '{OWN_CELL}'; if you trust it, pass it by name" in refused.err
    assert not (tmp_path / "answers.csv").exists()
    found = cli("predict", path, "--data", table, "-o", tmp_path / "answers.csv", "--trust", OWN_CELL)
    assert found.code == 0, found.err
    assert (tmp_path / "answers.csv").is_file()
