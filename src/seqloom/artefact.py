"""A trained model as one file: weights, all preprocessing, the recipe and what was measured. It runs no code."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqloom.errors import ArtefactError, RecipeError, SeqloomError
from seqloom.model import SequenceModel
from seqloom.recipe import parse_text
from seqloom.saving import JSON, digest, read_tensors, write_tensors

DIGEST = "sha256."  # how names of tensors begin that hold no weight


class Artefact(NamedTuple):
    """A model and the receipt of its making: metrics, data fingerprint, environment."""

    model: SequenceModel
    receipt: JSON


def save_artefact(path: Path, model: SequenceModel, receipt: JSON) -> None:
    """Write a `.seqloom` file; equal models give equal bytes."""
    # The recipe travels as text: the order of its inputs is the order of the core's features, and the document's
    # keys are sorted.
    fitted = model.fitted()
    document = {"recipe": model.recipe.render(), "fitted": fitted, "receipt": receipt}
    write_tensors(path, model.state_dict() | _digests(model, fitted), document)


def load_artefact(path: Path, *, trusted: Collection[str] = ()) -> Artefact:
    """Read a `.seqloom` file.

    Args:
        path: the file.
        trusted: import paths (`package.module:Class`) of cells, inputs and outputs of your own that the file may use.

    Raises:
        ArtefactError: the file is damaged, foreign, too new, or does not fit together.
    """
    tensors, document = read_tensors(path)
    try:
        recipe = parse_text(document["recipe"], str(path), trusted=trusted)
    except KeyError:
        raise ArtefactError(f"{path}: it holds no recipe; ask for the file again") from None
    except RecipeError as error:
        raise ArtefactError(f"{path}: {error}") from error
    try:
        model = SequenceModel(recipe, trusted=trusted)
        model.restore(document["fitted"])
        held = {name: tensors.pop(name) for name in list(tensors) if name.startswith(DIGEST)}
        if held:  # files of the first days have none
            _require_own(held, _digests(model, document["fitted"]))
        model.build()
        expected = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
        found = {name: tuple(weight.shape) for name, weight in tensors.items()}
        if found != expected:
            raise ArtefactError(_difference(found, expected))
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, SeqloomError) as error:
        raise ArtefactError(f"{path}: its parts do not fit together: {error}; ask for the file again") from error
    return Artefact(model.eval(), document.get("receipt", {}))


def _digests(model: SequenceModel, fitted: Mapping[str, Any]) -> dict[str, Tensor]:
    """(32,) bytes for each input and output: of what it had learned besides the weights when these were trained.

    They lie among the weights: a vocabulary of another model has as many words as it happens to have, and where that is
    the right number, nothing else would tell that codes now stand for other words.
    """
    names = {"inputs": list(model.inputs), "outputs": list(model.outputs)}
    return {
        f"{DIGEST}{room}.{name}": torch.frombuffer(bytearray(digest({name: fitted[room][name]})), dtype=torch.uint8)
        for room in names
        for name in names[room]
    }


def _require_own(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise where what was learned besides the weights is not what they were trained with.

    Raises:
        ArtefactError: names the input or output.
    """
    for name in sorted(found.keys() | expected.keys()):
        sides = (found.get(name), expected.get(name))
        trained, held = (None if side is None else bytes(side.tolist()).hex()[:8] for side in sides)
        if trained != held:
            part = name.removeprefix(DIGEST)
            raise ArtefactError(
                f"the vocabulary or scale of {part} is not the one that the weights were trained with (SHA-256 {held}, "
                f"expected {trained})"
            )


def _difference(found: dict[str, Any], expected: dict[str, Any]) -> str:
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            return f"weight {name} has shape {found.get(name)}; the recipe expects {expected.get(name)}"
    return "weights differ"
