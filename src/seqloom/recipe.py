"""The recipe: what goes in, what comes out, the core, the data and the training, checked before anything runs."""

from __future__ import annotations

import difflib
import inspect
import math
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import torch
import yaml
from pydantic import Field, PrivateAttr, SerializeAsAny, TypeAdapter, ValidationError, ValidationInfo, field_validator

from seqloom.cells.cell import Cell
from seqloom.data.settings import DataSettings
from seqloom.errors import RecipeError, UsageError
from seqloom.inputs.elapsed import Elapsed
from seqloom.inputs.input import Input, InputSettings
from seqloom.layers.beginning import why_no_memory, why_not_orthogonal
from seqloom.layers.conv import ConvSettings
from seqloom.lookup import find
from seqloom.outputs.output import Output, OutputSettings, Shape
from seqloom.settings import Settings
from seqloom.sizes import parse_size
from seqloom.wrappers.recurrent_dropout import why_no_recurrent_dropout


class CoreSettings(Settings):
    """The recurrent core, and the convolutions before it."""

    front: list[ConvSettings] = Field(
        [], description="convolutions between the joined inputs and the core, first to last; omitted: none"
    )
    cell: str = Field("gru", description="name of a file in seqloom/cells, or an import path package.module:Class")
    elapsed: str | None = Field(
        None, description="the input of kind elapsed that says how much time passed, for a cell that reads it"
    )
    hidden_size: int = Field(64, ge=1, le=65536, description="features of each cell's state")
    num_layers: int = Field(1, ge=1, le=64, description="layers on top of each other")
    bidirectional: bool = Field(False, description="also read backwards; such a model cannot stream")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of features dropped between layers and at the input")
    recurrent_dropout: float = Field(
        0.0, ge=0, lt=1, description="share of units whose past the cell's weights do not see, the same for a sequence"
    )
    zoneout: float = Field(0.0, ge=0, lt=1, description="probability with which a unit keeps its state over a step")
    learned_state: bool = Field(False, description="what a sequence begins with is learned; false: as the cell has it")
    options: dict[str, Any] = Field({}, description="settings of the cell itself, such as proj_size of projected_lstm")
    backend: str = Field("auto", description="kernel: auto, or the name of one that must run")
    memory_steps: int | None = Field(
        None,
        ge=2,
        description="forget gates begin with memories from 1 to so many steps; omitted: as the cell has it",
    )
    orthogonal: bool = Field(False, description="recurrent matrices begin orthogonal, so that states keep their length")


class TrainingSettings(Settings):
    """How the model is trained."""

    steps: int = Field(1000, ge=1, description="optimiser steps at most")
    batch_size: int = Field(64, ge=1, description="examples or windows in a batch; with batch_tokens, at most")
    batch_tokens: int | None = Field(
        None,
        ge=1,
        description="steps in a batch at most, read and, of texts, written, padding included: batches then hold rows "
        "of similar length, as many as fit; omitted: batch_size rows of any length",
    )
    accumulate: int = Field(1, ge=1, description="batches whose gradients are summed for one step")
    tbptt_steps: int | None = Field(
        None,
        ge=1,
        description="steps of truncated backpropagation through time: each row of a batch runs through the training "
        "sequences so many steps at a time and carries its state on; omitted: whole sequences",
    )
    memory: str | None = Field(
        None,
        description="budget such as 500MB or 2GB for the memory of the training process: long sequences are read in "
        "chunks and read again for the exact gradient; omitted: no limit",
    )
    lr: float = Field(2e-3, gt=0, description="largest learning rate")
    schedule: Literal["constant", "cosine", "linear"] = Field("cosine", description="how the rate falls after warm-up")
    warmup_steps: int = Field(50, ge=0, description="steps in which the rate rises from zero")
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay of AdamW")
    max_norm: float = Field(1.0, gt=0, description="gradients are scaled down to this norm")
    average: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay of the running mean of the weights that is validated and kept, no more than (1 + step) / "
        "(10 + step), so 0.98 takes some 440 steps; 0: off",
    )
    average_best: int | None = Field(
        None,
        ge=2,
        description="at the end, try the mean of the weights at so many of the best validations, and keep it where its "
        "own validation loss is smaller than the smallest; omitted: no",
    )
    average_last: int | None = Field(
        None, ge=2, description="the same with so many of the last validations; omitted: no"
    )
    validate_every: int = Field(100, ge=1, description="steps between validations")
    patience: int = Field(10, ge=1, description="validations without improvement before training stops")
    doctor_every: int | None = Field(
        None,
        ge=1,
        description="steps between looks of the gradient doctor while a run is trained, the last step included; it "
        "changes nothing, and tells what it finds once; omitted: no looks",
    )
    precision: Literal["float32", "bfloat16"] = Field("float32", description="arithmetic of the forward pass")
    threads: int | None = Field(
        None,
        ge=1,
        description="threads of torch while training; omitted: torch's own choice. One is best for small cores",
    )
    deterministic: bool = Field(True, description="refuse operations whose result depends on timing")
    seed: int = Field(0, ge=0, description="of weights, order and dropout")

    @field_validator("memory")
    @classmethod
    def _size(cls, memory: str | None) -> str | None:
        if memory is not None:
            parse_size(memory)
        return memory


class Source:
    """Where each key of a recipe stands: a file name and a line for each path of keys.

    Any two are equal, since recipes that declare the same are, wherever they stand.
    """

    def __init__(self, name: str, lines: Mapping[tuple[str, ...], int]) -> None:
        self.name = name
        self._lines = lines

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Source)

    def place(self, path: tuple[str, ...]) -> str:
        """`recipe.yaml line 7` for the deepest part of the path that the file has."""
        for end in range(len(path), 0, -1):
            if path[:end] in self._lines:
                return f"{self.name} line {self._lines[path[:end]]}"
        return self.name


class Recipe(Settings):
    """A whole declaration. Names of inputs and outputs are free; they appear in every report."""

    seqloom: Literal[1] = Field(1, description="version of the recipe format")
    data: DataSettings = Field(default_factory=DataSettings, description="which table, and what its rows mean")
    inputs: dict[str, SerializeAsAny[InputSettings]] = Field({}, description="what goes in, by name")
    core: CoreSettings = Field(default_factory=CoreSettings, description="the recurrent core")
    outputs: dict[str, SerializeAsAny[OutputSettings]] = Field(min_length=1, description="what comes out, by name")
    training: TrainingSettings = Field(default_factory=TrainingSettings, description="how it is trained")
    _source: Source = PrivateAttr(default_factory=lambda: Source("recipe", {}))

    @field_validator("inputs", mode="before")
    @classmethod
    def _inputs(cls, value: Any, info: ValidationInfo) -> Any:
        return _by_kind(value, "inputs", Input, info)

    @field_validator("outputs", mode="before")
    @classmethod
    def _outputs(cls, value: Any, info: ValidationInfo) -> Any:
        return _by_kind(value, "outputs", Output, info)

    def place(self, *path: str) -> str:
        """Where a key stands, such as `recipe.yaml line 7`, for errors that show only with the data."""
        return self._source.place(path)

    def with_frequency(self, frequency: str | None) -> Recipe:
        """With the frequency that was found in the training data, so that new data are read on the same grid."""
        return self.model_copy(update={"data": self.data.model_copy(update={"frequency": frequency})})

    def render(self) -> str:
        """YAML with every setting, the defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def parse_recipe(
    document: Mapping[str, Any], *, trusted: Collection[str] | None = None, source: Source | None = None
) -> Recipe:
    """A recipe from its plain form.

    Args:
        document: mappings, lists and scalars, as YAML or JSON gives them.
        trusted: import paths that may be used as kinds and cells; None allows all.
        source: the text it came from, for line numbers in errors.

    Raises:
        RecipeError: unknown key (with the nearest valid one), wrong type, value out of range.
    """
    source = source or Source("recipe", {})
    try:
        recipe = Recipe.model_validate(document, context={"trusted": trusted})
    except ValidationError as error:
        raise RecipeError("\n".join(_explain(problem, source) for problem in error.errors())) from None
    recipe._source = source
    try:
        cell = find("cells", recipe.core.cell, Cell, trusted)
    except RecipeError as error:
        raise RecipeError(f"{source.place(('core', 'cell'))}: core.cell: {error}") from error
    _check_options(recipe.core, cell, source)
    _check_elapsed(recipe, cell, trusted, source)
    _check_beginning(recipe.core, cell, source)
    _check_front(recipe, trusted, source)
    _check_means(recipe, source)
    return recipe


def _check_options(core: CoreSettings, cell: type[Cell], source: Source) -> None:
    """Raise where a cell does not have an option, or not that value, or no use for recurrent dropout."""
    types = get_type_hints(cell.__init__)
    parameters = inspect.signature(cell).parameters.values()
    known = [p.name for p in parameters if p.name not in ("input_size", "hidden_size")]
    for name, value in core.options.items():
        where = _named(source, "core", "options", name)
        if name not in known:
            raise RecipeError(f"{where}: {cell.__name__} has no such option; known: {', '.join(known) or 'none'}")
        try:
            TypeAdapter(types.get(name, Any)).validate_python(value, strict=True)
        except ValidationError as error:
            expected = error.errors()[0]["msg"]
            raise RecipeError(f"{where}: got {value!r}; {expected[0].lower()}{expected[1:]}") from None
    if core.options:
        try:
            with torch.device("meta"):  # weights without memory
                cell(1, core.hidden_size, **core.options)
        except UsageError as error:
            raise RecipeError(f"{_named(source, 'core', 'options')}: {error}") from None
    reason = why_no_recurrent_dropout(cell) if core.recurrent_dropout else None
    if reason is not None:
        raise RecipeError(f"{_named(source, 'core', 'recurrent_dropout')}: {reason}")


def _check_elapsed(recipe: Recipe, cell: type[Cell], trusted: Collection[str] | None, source: Source) -> None:
    """Raise unless a cell that reads elapsed time is shown some, and no other cell is."""
    core, where = recipe.core, _named(source, "core", "elapsed")
    kinds = {name: find("inputs", entry.kind, Input, trusted) for name, entry in recipe.inputs.items()}
    timed = [name for name, kind in kinds.items() if issubclass(kind, Elapsed)]
    if not cell.reads_elapsed and core.elapsed is not None:
        raise RecipeError(f"{where}: {cell.__name__} reads no elapsed time; leave it out, or use core.cell: decay_gru")
    if cell.reads_elapsed and core.elapsed not in timed:
        raise RecipeError(
            f"{where}: got {core.elapsed!r}, but {cell.__name__} reads the time between steps; expected the name of an "
            f"input of kind elapsed, here {', '.join(timed) or 'none: add inputs.gap: {kind: elapsed}'}"
        )
    if cell.reads_elapsed and core.front:
        raise RecipeError(
            f"{_named(source, 'core', 'front')}: convolutions take steps for evenly spaced, and {cell.__name__} reads "
            "the time between them; leave one of the two out"
        )


def _check_beginning(core: CoreSettings, cell: type[Cell], source: Source) -> None:
    """Raise where a cell has no room for how it is to begin."""
    reasons = {
        "memory_steps": why_no_memory(cell) if core.memory_steps is not None else None,
        "orthogonal": why_not_orthogonal(cell) if core.orthogonal else None,
    }
    for key, reason in reasons.items():
        if reason is not None:
            raise RecipeError(f"{source.place(('core', key))}: core.{key}: {reason}; leave it out, or change core.cell")


def _check_front(recipe: Recipe, trusted: Collection[str] | None, source: Source) -> None:
    """Whether every output can answer from a sequence that the front end shortens.

    Raises:
        RecipeError: one that answers step by step cannot, and does not say how; or it says how without need.
    """
    strides = [layer.stride for layer in recipe.core.front]
    factor = math.prod(strides)
    for name, entry in recipe.outputs.items():
        each_step = find("outputs", entry.kind, Output, trusted).shape is Shape.STEPS
        hold = getattr(entry, "hold", False)
        if hold and factor == 1:
            where = _named(source, "outputs", name, "hold")
            raise RecipeError(f"{where}: has no effect, since core.front does not shorten the sequence; leave it out")
        if factor > 1 and not hold and (each_step or hasattr(entry, "horizon")):
            first = next(k for k, stride in enumerate(strides) if stride > 1)
            way = f", or outputs.{name}.hold: true to let an answer stand for {factor} steps" if each_step else ""
            raise RecipeError(
                f"{_named(source, 'core', 'front', str(first), 'stride')}: the front end makes {factor} steps one, but "
                f"outputs.{name} answers each {'step' if each_step else 'coming step'}; expected stride: 1{way}"
            )


def _check_means(recipe: Recipe, source: Source) -> None:
    """Raise where weights are to be averaged, and nothing can tell whether that helps."""
    for name in ("average_best", "average_last"):
        if getattr(recipe.training, name) is not None and recipe.data.split.valid == 0:
            raise RecipeError(
                f"{_named(source, 'training', name)}: needs a validation part to choose by, but data.split.valid is 0; "
                "give it a share, or leave this out"
            )


def _named(source: Source, *path: str) -> str:
    return f"{source.place(path)}: {'.'.join(path)}"


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> tuple[Recipe, str]:
    """The recipe in a YAML file, and the text of that file.

    Args:
        path: the file.
        overrides: `key.path=value` settings that replace or add to what the file says.

    Raises:
        RecipeError: the file is missing, is no YAML, or says something wrong; names the line.
    """
    if not path.is_file():
        raise RecipeError(f"there is no recipe {path}; write one with `seqloom init DATA -o {path}`")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    return parse_text(text, str(path), overrides), text


def parse_text(
    text: str, name: str, overrides: Sequence[str] = (), *, trusted: Collection[str] | None = None
) -> Recipe:
    """The recipe in a YAML text; `name` is where the text comes from, for errors.

    Raises:
        RecipeError: as `load_recipe`.
    """
    document, source = _read_yaml(text, name)
    for entry in overrides:
        override(document, entry)
    return parse_recipe(document, trusted=trusted, source=source)


class _PlainLoader(yaml.SafeLoader):
    """The safe loader, with dates left as the text they are."""


_PlainLoader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in entries if not tag.endswith(":timestamp")]
    for letter, entries in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _read_yaml(text: str, name: str) -> tuple[dict[str, Any], Source]:
    try:
        node = yaml.compose(text, Loader=_PlainLoader)
        document = yaml.load(text, Loader=_PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"{name} is not valid YAML: {error}") from None
    if not isinstance(document, dict):
        raise RecipeError(f"{name} holds {type(document).__name__}; expected keys such as data, inputs and outputs")
    return document, Source(name, dict(_lines(node, ())))


def _lines(node: yaml.Node | None, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], int]]:
    if isinstance(node, yaml.MappingNode):
        entries = [(str(key.value), key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        entries = [(str(place), value, value) for place, value in enumerate(node.value)]
    else:
        return []
    found = []
    for name, mark, value in entries:
        here = (*path, name)
        found.append((here, mark.start_mark.line + 1))
        found.extend(_lines(value, here))
    return found


def override(document: dict[str, Any], entry: str) -> None:
    """Apply one `key.path=value` to the plain form of a recipe.

    Raises:
        RecipeError: it is not of that form.
    """
    key, equals, text = entry.partition("=")
    if not equals or not key:
        raise RecipeError(f"got {entry!r}; expected key.path=value, such as training.steps=500")
    *parents, last = key.split(".")
    place = document
    for parent in parents:
        inner = place.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"{entry!r}: {parent!r} is a value, not a section")
        place = inner
    try:
        place[last] = yaml.load(text, Loader=_PlainLoader)
    except yaml.YAMLError as error:
        raise RecipeError(f"{entry!r}: the value is not valid YAML: {error}") from None


def _by_kind(value: Any, room: str, base: type[Input] | type[Output], info: ValidationInfo) -> Any:
    """Each entry checked against the settings of the class that its `kind` means."""
    if not isinstance(value, Mapping):
        raise ValueError(f"got {value!r}; expected names, each with a kind")
    trusted = (info.context or {}).get("trusted")
    return {name: _one(name, entry, room, base, trusted) for name, entry in value.items()}


def _one(name: Any, entry: Any, room: str, base: type[Any], trusted: Collection[str] | None) -> Any:
    if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name):
        raise ValueError(f"the name {name!r} may hold letters, digits, _ and - only; give other columns as `columns`")
    if isinstance(entry, Settings):
        return entry
    if not isinstance(entry, Mapping) or not isinstance(entry.get("kind"), str):
        raise _Wrong(name, f"got {entry!r}; expected a mapping with a kind, such as {{kind: series}}")
    try:
        settings = find(room, entry["kind"], base, trusted).Settings
        return settings.model_validate(entry)
    except RecipeError as error:
        raise _Wrong(name, str(error)) from None
    except ValidationError as error:
        raise _Nested(name, settings, error) from None


class _Wrong(ValueError):
    """One entry is wrong as a whole."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class _Nested(ValueError):
    """A problem inside one entry, with the settings class it was checked against."""

    def __init__(self, name: str, settings: type[Settings], error: ValidationError) -> None:
        super().__init__(name)
        self.name, self.settings, self.error = name, settings, error


def _explain(problem: Any, source: Source) -> str:
    """One problem in words: where, what was given, what is expected."""
    path = tuple(str(part) for part in problem["loc"])
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, _Nested):
        return "\n".join(
            _sentence(
                (*path, cause.name, *map(str, inner["loc"])),
                inner,
                _fields(cause.settings, inner["loc"]),
                source,
            )
            for inner in cause.error.errors()
        )
    if isinstance(cause, _Wrong):
        path = (*path, cause.name)
        return f"{source.place(path)}: {'.'.join(path)}: {cause}"
    return _sentence(path, problem, _fields(Recipe, problem["loc"]), source)


def _fields(settings: type[Settings], path: tuple[str | int, ...]) -> list[str]:
    """The keys that are valid beside the last part of the path."""
    for part in path[:-1]:
        if isinstance(part, int):  # a place in a list, whose entries are known already
            continue
        field = settings.model_fields.get(part)
        inner = field.annotation if field else None
        inner = next(iter(get_args(inner)), inner)
        if not (isinstance(inner, type) and issubclass(inner, Settings)):
            return []
        settings = inner
    return list(settings.model_fields)


def _sentence(path: tuple[str, ...], problem: Any, known: list[str], source: Source) -> str:
    where = f"{source.place(path)}: {'.'.join(path)}"
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        return f"{where}: unknown key; {hint}"
    if problem["type"] == "missing":
        return f"{where}: is missing"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error" and isinstance(problem["input"], Mapping):
        return f"{where}: {message}"
    return f"{where}: got {problem['input']!r}; {message[0].lower()}{message[1:]}"
