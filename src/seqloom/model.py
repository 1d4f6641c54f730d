"""`SequenceModel`: inputs, core and outputs put together; the topology follows from what was declared."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from seqloom.batch import Batch
from seqloom.cells.cell import Cell
from seqloom.data.ledger import Ledger
from seqloom.data.segments import Column, Segments
from seqloom.errors import DataError, RecipeError
from seqloom.inputs.input import Input, Role
from seqloom.inputs.series import Series
from seqloom.inputs.text import Text
from seqloom.layers.beginning import make_orthogonal, set_memory
from seqloom.layers.front import Front, FrontState
from seqloom.layers.recurrent import Recurrent
from seqloom.lookup import find
from seqloom.outputs.output import Output, PooledOutput, Reading, Shape
from seqloom.recipe import Recipe
from seqloom.sequences import Sequences
from seqloom.wrappers import wrap


class Topology(NamedTuple):
    """What kind of model a recipe describes, and why."""

    name: str
    reasons: tuple[str, ...]


class ModelState(NamedTuple):
    """What a model remembers of the steps it read: its front end and its core, rows first everywhere."""

    front: FrontState
    core: Any


class Memory(NamedTuple):
    """What is carried from chunk to chunk: the model's state, and by name what pooled outputs made of the steps."""

    state: ModelState
    pools: dict[str, Any]


class SequenceModel(nn.Module):
    """A model as declared by a recipe.

    Life: `fit` and `read_files`, or `restore`, then `build`; from there on it is an ordinary module.

    Args:
        recipe: the declaration.
        trusted: import paths it may use; None allows all.

    Raises:
        RecipeError: the parts do not fit together.
    """

    def __init__(self, recipe: Recipe, *, trusted: Collection[str] | None = None) -> None:
        super().__init__()
        self.recipe = recipe
        self._trusted = trusted
        self._inputs = nn.ModuleList(
            find("inputs", entry.kind, Input, trusted)(name, entry) for name, entry in recipe.inputs.items()
        )
        self._outputs = nn.ModuleList(
            find("outputs", entry.kind, Output, trusted)(name, entry) for name, entry in recipe.outputs.items()
        )
        self.front: Front
        self.core: Recurrent
        for output in self.outputs.values():
            if output.shape is Shape.AHEAD:
                output.attach(self._source(output))
            if output.shape is Shape.SPAN:
                output.attach(self._read_text(output))
            output.tie(self.inputs)
        self._check()

    @property
    def inputs(self) -> dict[str, Input]:
        """The inputs by name."""
        return {input.name: input for input in cast(list[Input], self._inputs)}

    @property
    def outputs(self) -> dict[str, Output]:
        """The outputs by name."""
        return {output.name: output for output in cast(list[Output], self._outputs)}

    @property
    def horizon(self) -> int:
        """Steps after the origin that some output answers; 0 where none does."""
        return max(output.horizon for output in self.outputs.values())

    @property
    def block(self) -> int:
        """Coming steps that are answered at once, and trained on; 0 where nothing is forecast."""
        return max(output.block for output in self.outputs.values())

    @property
    def carries_state(self) -> bool:
        """Whether forecasts read a series once, from its beginning, with the state carried from origin to origin."""
        return bool(self.horizon) and self.causal and self.recipe.data.context_length is None

    @property
    def longest_lag(self) -> int:
        """Steps before a window that its lagged inputs reach back."""
        return max((lag for input in self.inputs.values() for lag in input.lags), default=0)

    @property
    def causal(self) -> bool:
        """Whether no step's answer depends on later steps, so that the model can stream."""
        return self.reads_ahead is None

    @property
    def reads_ahead(self) -> str | None:
        """What makes answers depend on later steps, as a sentence about the model, or None."""
        core = self.recipe.core
        if core.bidirectional:
            return "reads each sequence backwards too (core.bidirectional: true)"
        centred = [f"core.front.{k}.causal: false" for k, layer in enumerate(core.front) if not layer.causal]
        if centred:
            return f"looks at later steps in its front end ({', '.join(centred)})"
        held = [f"outputs.{n}.hold: true" for n, entry in self.recipe.outputs.items() if getattr(entry, "hold", False)]
        return f"answers several steps at once, after the last of them ({', '.join(held)})" if held else None

    @property
    def whole_only(self) -> str | None:
        """Why sequences must be read whole, or None where `advance` can read them in chunks."""
        if not self.causal:
            return f"this model {self.reads_ahead}"
        for name, input in self.inputs.items():
            if input.own_axis:
                return f"inputs.{name} has a time axis of its own"
        for name, output in self.outputs.items():
            if output.shape is not Shape.STEPS and not isinstance(output, PooledOutput):
                return f"outputs.{name} wants {output.shape.value}"
        return None

    def _source(self, output: Output) -> Input:
        for input in self.inputs.values():
            if isinstance(input, Series) and input.columns == output.columns and input.role is Role.PAST:
                return input
        raise RecipeError(
            f"outputs.{output.name}: a forecast needs the past of its columns {output.columns}; add the input "
            f"{output.name}: {{kind: series, scale: own, columns: {output.columns}}}"
        )

    def _read_text(self, output: Output) -> Input:
        for input in self.inputs.values():
            if isinstance(input, Text):
                return input
        raise RecipeError(
            f"outputs.{output.name}: a span is a stretch of a text that is read; add an input of kind text, whose last "
            "column is the one that answers stand in"
        )

    def _check(self) -> None:
        along_time = [i for i in self.inputs.values() if i.role is not Role.STATIC]
        own = [i.name for i in along_time if i.own_axis]
        if own and len(along_time) > 1:
            others = [i.name for i in along_time if i.name != own[0]]
            raise RecipeError(
                f"inputs.{own[0]} has a time axis of its own, so {', '.join(others)} cannot stand beside it; expected "
                f"one time axis. Several texts of a row go into one input: columns: [{own[0]}, {others[0]}]"
            )
        if own and any(output.shape is Shape.STEPS for output in self.outputs.values()):
            raise RecipeError(
                f"a label for each step needs lists along time, and inputs.{own[0]} makes its own steps; give the "
                "words as lists, with an input of kind category and role past"
            )
        if not along_time and not self.horizon:
            raise RecipeError("no input has a time axis and no output has one; expected a sequence on either side")
        if self.horizon and any(output.shape is not Shape.AHEAD for output in self.outputs.values()):
            raise RecipeError("a forecast and an answer of another kind stand side by side; use a recipe for each")
        for name, output in self.outputs.items():
            if output.next_asked and not self.causal:
                raise RecipeError(
                    f"outputs.{name} asks for what comes next, but this model {self.reads_ahead} and has seen it "
                    "already; leave that out"
                )
        ahead = {(output.horizon, output.block) for output in self.outputs.values()}
        if len(ahead) > 1:
            raise RecipeError(
                f"the forecasts look {sorted(ahead)} steps (horizon, block) ahead; expected the same for all outputs, "
                "since they read on together: use a recipe for each"
            )
        self._check_long()

    def _check_long(self) -> None:
        settings = self.recipe.training
        steps, memory, most = settings.tbptt_steps, settings.memory, settings.batch_tokens
        if steps is not None and memory is not None:
            raise RecipeError(
                f"training.tbptt_steps is {steps} and training.memory is {memory}: the first truncates the gradient, "
                "the second keeps it exact; leave one of them out"
            )
        if memory is not None and settings.doctor_every is not None:
            raise RecipeError(
                f"training.doctor_every is {settings.doctor_every} and training.memory is {memory}: the doctor keeps "
                "every state of what it looks at, which no budget counts; leave it out, and look at checkpoints with "
                "`seqloom doctor RUN`"
            )
        if steps is None and memory is None:
            return
        asked = f"training.tbptt_steps is {steps}" if steps is not None else f"training.memory is {memory}"
        if most is not None:
            raise RecipeError(
                f"training.batch_tokens is {most} and {asked.replace(' is', '')}; with the latter every batch has "
                "batch_size rows, read chunk by chunk: leave one of them out"
            )
        if self.whole_only is not None:
            raise RecipeError(
                f"{asked}, but {self.whole_only}; expected a causal model whose outputs answer each step or pool the "
                "steps of a sequence: leave it out, or change the model"
            )
        pooled = [name for name, output in self.outputs.items() if output.shape is not Shape.STEPS]
        if steps is not None and pooled:
            raise RecipeError(
                f"{asked}, but outputs.{pooled[0]} wants {self.outputs[pooled[0]].shape.value}; expected outputs with "
                "one answer for each step, which any piece of a sequence can teach: take training.memory instead"
            )

    def topology(self) -> Topology:
        """Sequence or vector in, sequence or vector out."""
        moving = [name for name, i in self.inputs.items() if i.role is not Role.STATIC]
        reasons = [f"{', '.join(moving)} along time: a sequence goes in" if moving else "nothing goes in along time"]
        reasons += [f"{name} wants {output.shape.value}" for name, output in self.outputs.items()]
        vector_out = all(output.shape is Shape.VECTOR for output in self.outputs.values())
        source, target = "sequence" if moving else "vector", "vector" if vector_out else "sequence"
        return Topology(f"{source} → {target}", tuple(reasons))

    def fit(self, columns: Mapping[str, Column], targets: Mapping[str, Column]) -> None:
        """Fit vocabularies and scales on the training part's columns, by input and by output."""
        for name, input in self.inputs.items():
            input.fit(columns[name])
        for name, output in self.outputs.items():
            output.fit(targets[name])

    def read_files(self, folder: Path) -> None:
        """Give every fitted input the files that it names; relative paths begin at `folder`, that of the data.

        Raises:
            DataError: a file is missing or cannot be used; names the line of the recipe.
        """
        for name, input in self.inputs.items():
            for setting, file in input.files.items():
                where = f"{self.recipe.place('inputs', name, setting)}: inputs.{name}.{setting} is {file!r}"
                path = folder / file
                if not path.is_file():
                    raise DataError(
                        f"{where}, but there is no file '{path.absolute()}'; relative paths begin at the folder of the "
                        "data (for a frame: the working folder). Put the file there, or give its whole path"
                    )
                try:
                    input.read_file(setting, path)
                except DataError as error:
                    raise DataError(f"{where}: {error}") from None

    def report(self, segments: Segments, ledger: Ledger) -> None:
        """Enter what the fitted inputs and outputs leave out of a table."""
        for input in self.inputs.values():
            input.report(input.read(segments), ledger)
        for output in self.outputs.values():
            output.report(output.read(segments), ledger)

    def assume(self) -> None:
        """Fit on made-up columns and build, to look at shapes before any data were read: ten words each."""
        words = np.array([f"word {k}" for k in range(10)], dtype=object)

        def made_up(input: Input) -> Column:
            return words if input.reads_text else np.zeros((10, max(len(input.columns), 1)))

        inputs = {name: made_up(input) for name, input in self.inputs.items()}
        self.fit(inputs, {name: output.made_up() for name, output in self.outputs.items()})
        self.build()

    def fitted(self) -> dict[str, Any]:
        """What was learned besides weights, as JSON."""
        return {
            "inputs": {name: input.fitted() for name, input in self.inputs.items()},
            "outputs": {name: output.fitted() for name, output in self.outputs.items()},
        }

    def restore(self, fitted: Mapping[str, Any]) -> None:
        """Take back what `fitted` gave."""
        for name, input in self.inputs.items():
            input.restore(fitted["inputs"][name])
        for name, output in self.outputs.items():
            output.restore(fitted["outputs"][name])

    def build(self) -> None:
        """Make all weights."""
        core = self.recipe.core
        for input in self.inputs.values():
            input.build()
        joined = sum(input.features for input in self.inputs.values())
        self.front = Front(joined, core.front)
        self.core = Recurrent(
            find("cells", core.cell, Cell, self._trusted),
            self.front.output_size,
            core.hidden_size,
            core.num_layers,
            bidirectional=core.bidirectional,
            dropout=core.dropout,
            backend=core.backend,
            options=core.options,
            wrap=partial(
                wrap, learned_state=core.learned_state, recurrent_dropout=core.recurrent_dropout, zoneout=core.zoneout
            ),
        )
        for cell in (cell.bare for layer in self.core.cells() for cell in layer):
            if core.orthogonal:
                make_orthogonal(cell)
            if core.memory_steps is not None:
                set_memory(cell, core.memory_steps)
        for output in self.outputs.values():
            output.connect(self.core)
            output.build(self.core.output_size, joined, core.bidirectional)

    def _joined(self) -> list[tuple[str, Input]]:
        """The inputs in the order in which they stand side by side: what the core reads as elapsed time is first."""
        return sorted(self.inputs.items(), key=lambda entry: entry[0] != self.recipe.core.elapsed)

    def join(self, batch: Batch) -> Sequences:
        """The features of all inputs side by side, (B, T, F); static ones stand at every step."""
        moving = [batch.inputs[name].shape[1] for name, i in self.inputs.items() if i.role is not Role.STATIC]
        B, longest = len(batch.lengths), int(batch.lengths.max()) if len(batch.lengths) else 0
        T = moving[0] if moving else longest
        parts = []
        for name, input in self._joined():
            features = input(batch.inputs[name], batch.scales.get(name))
            parts.append(features.unsqueeze(1).expand(B, T, -1) if input.role is Role.STATIC else features)
        return Sequences(torch.cat(parts, dim=-1), batch.lengths).zero_padding()

    def initial_state(self, batch_size: int) -> ModelState:
        """The state before the first step."""
        return ModelState(self.front.initial_state(batch_size), self.core.initial_state(batch_size))

    def read(self, batch: Batch, state: ModelState | None = None, *, final: bool = True) -> tuple[Reading, ModelState]:
        """The core's outputs over a batch, and the state after each row's last step.

        Args:
            batch: the rows, or the next chunk of them.
            state: after the chunk before; omitted: at the beginning.
            final: nothing follows. A front end that shortens or looks ahead keeps steps back while it is False; any
                other reads the same either way.
        """
        if state is None:
            state = self.initial_state(len(batch.lengths))
        joined = self.join(batch)
        shorter, front = self.front(joined, state.front, final=final)
        states, core = self.core(self.core.drop(shorter), state.core)
        bare = self.core.bare_state(core)
        reading = Reading(states, joined, self._lagged(batch), batch.origins, self.front.factor, bare, batch.targets)
        return reading, ModelState(front, core)

    def initial_memory(self, batch_size: int) -> Memory:
        """What is carried before the first chunk."""
        like = next(self.core.parameters()).detach()
        pools = {
            name: output.pool.initial_state(batch_size, self.core.output_size, like)
            for name, output in self.outputs.items()
            if isinstance(output, PooledOutput)
        }
        return Memory(self.initial_state(batch_size), pools)

    def advance(self, batch: Batch, memory: Memory, *, final: bool = True) -> tuple[Reading, Memory]:
        """As `read`, for a chunk of sequences that are read in chunks: pooled outputs remember what they need of it."""
        reading, state = self.read(batch, memory.state, final=final)
        pools = {
            name: output.pool.read(reading.states, memory.pools[name])
            for name, output in self.outputs.items()
            if isinstance(output, PooledOutput)
        }
        return reading, Memory(state, pools)

    def decode_chunk(self, reading: Reading, memory: Memory, *, final: bool = True) -> dict[str, Tensor]:
        """Raw answers after `advance`: one for each step of the chunk, and at the end those of pooled outputs."""
        raw = {}
        for name, output in self.outputs.items():
            if not isinstance(output, PooledOutput):
                raw[name] = output(reading)
            elif final:
                raw[name] = output.conclude(output.pool.vector(memory.pools[name]))
        return raw

    def _lagged(self, batch: Batch) -> dict[str, dict[int, Tensor]]:
        """Each series as it was some lags ago, in scaled units."""
        found = {}
        for name, input in self.inputs.items():
            if isinstance(input, Series) and input.lags:
                scaled = input.scaled(batch.inputs[name], batch.scales.get(name))
                _, *lagged = scaled.chunk(1 + len(input.lags), dim=-1)
                found[name] = dict(zip(input.lags, lagged, strict=True))
        return found

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Raw answers of every output, by name."""
        reading, _ = self.read(batch)
        return self.decode(reading)

    def decode(self, reading: Reading) -> dict[str, Tensor]:
        """Raw answers of every output to what the core made of a batch, by name."""
        return {name: output(reading) for name, output in self.outputs.items()}

    def loss(self, raw: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Weighted sum of the losses of all outputs."""
        return torch.stack(
            [output.weight * self.output_loss(name, raw[name], batch) for name, output in self.outputs.items()]
        ).sum()

    def output_loss(self, name: str, raw: Tensor, batch: Batch) -> Tensor:
        """The loss of one output, unweighted."""
        output = self.outputs[name]
        scale = batch.scales.get(output.source) if output.source else None
        return output.loss(raw, batch.targets[name], scale)
