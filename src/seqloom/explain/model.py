"""What is inside one model: topology, shapes, parameters, memory, kernels, streaming."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from seqloom.budget import Plan
from seqloom.errors import UsageError
from seqloom.explain.blank import blank_batch
from seqloom.explain.columns import aligned
from seqloom.explain.stage import Stage
from seqloom.explain.stages import run_stages
from seqloom.kernels import KERNELS, Choice
from seqloom.model import SequenceModel, Topology
from seqloom.sizes import format_size
from seqloom.state import size

_STEPS = 50  # past steps where neither the caller nor the recipe names a number
_NUMBER = 4  # bytes of a float32
_MIB = 2**20
_LENGTHS = (
    "Rows of a batch may have different lengths, 0 included: lengths travel with the values, and what padding holds "
    "reaches no answer, no gradient and no final state."
)


class Reach(NamedTuple):
    """What a front end reads and keeps, in steps of the input.

    Attributes:
        receptive_field: steps that one of its steps reads.
        factor: steps that one of its steps stands for: the sequence is so many times shorter.
        lookahead: steps read behind those that one stands for.
        delay: steps, after the first that it stands for, until one of its steps is complete.
    """

    receptive_field: int
    factor: int
    lookahead: int
    delay: int

    def to_text(self) -> list[str]:
        """A line for each."""
        return [
            f"receptive field: {self.receptive_field:,} steps are read by one step of the core",
            f"shortening factor: {self.factor:,}; a row of L steps becomes ceil(L / {self.factor}), of 0 steps 0",
            f"look-ahead: {self.lookahead:,} steps behind those that it stands for",
            f"delay: it is complete {self.delay:,} steps after the first that it stands for",
        ]


@dataclass(frozen=True)
class Explanation:
    """Everything `seqloom explain` says of a model.

    Attributes:
        topology: sequence or vector in and out, and why.
        stages: in the order of a forward pass.
        measured: rows, past steps and horizon of the batch that was run.
        memory: MiB by what they hold, an estimate, for one training batch of `training_rows`.
        training_rows: `training.batch_size` of the recipe.
        backend: `core.backend` of the recipe.
        front: what the convolutions before the core do to a sequence; None where there are none.
        streaming: whether the model is causal, and why.
        from_data: sizes that no recipe holds, since the training part was needed to know them.
        budget: `training.memory` of the recipe.
        chunks: how that cuts the training sequences; None where they are not known.
    """

    topology: Topology
    stages: tuple[Stage, ...]
    measured: tuple[int, int, int]
    memory: dict[str, float]
    training_rows: int
    backend: str
    front: Reach | None
    streaming: str
    from_data: tuple[str, ...]
    budget: str | None = None
    chunks: Plan | None = None

    @property
    def parameters(self) -> int:
        """Weights that training changes, in all."""
        return sum(stage.parameters for stage in self.stages)

    def to_text(self) -> str:
        """Plain text with aligned columns."""
        rows, steps, horizon = self.measured
        ran = f"measured on a batch of {rows} rows of {steps} past steps" + (
            f" and {horizon} coming" if horizon else ""
        )
        sections = {
            f"Topology: {self.topology.name}": list(self.topology.reasons),
            f"Shapes (batch, time, features), {ran}": self._table(),
            "Sizes that came from data": list(self.from_data) or ["none"],
            f"Memory for one training batch of {self.training_rows} rows, an estimate": self._memory(),
            **({f"Exact gradients within {self.budget}": self._chunks()} if self.budget else {}),
            f"Kernels (backend: {self.backend})": self._kernels(),
            **({"Front end": self.front.to_text()} if self.front else {}),
            "Streaming": [self.streaming],
            "Lengths": [_LENGTHS],
        }
        return (
            "\n\n".join("\n".join([title, *(f"  {line}" for line in lines)]) for title, lines in sections.items())
            + "\n"
        )

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        rows, steps, horizon = self.measured
        return {
            "topology": {"name": self.topology.name, "reasons": list(self.topology.reasons)},
            "measured": {"rows": rows, "steps": steps, "horizon": horizon},
            "stages": [_stage(stage) for stage in self.stages],
            "parameters": self.parameters,
            "memory_mib": {"estimate": True, "rows": self.training_rows, **self.memory},
            "budget": self.budget,
            "chunks": self.chunks and {**self.chunks._asdict(), "chunks": self.chunks.chunks, "peak": self.chunks.peak},
            "backend": self.backend,
            "front": self.front and self.front._asdict(),
            "streaming": self.streaming,
            "from_data": list(self.from_data),
            "lengths": _LENGTHS,
        }

    def _table(self) -> list[str]:
        head = ["stage", "shape", "parameters", ""]
        body = [[s.name, _shape(s.shape), f"{s.parameters:,}" if s.parameters else "", s.note] for s in self.stages]
        return aligned([head, *body, ["total", "", f"{self.parameters:,}", ""]], right=(2,))

    def _memory(self) -> list[str]:
        return aligned([[name, f"{size:,.2f} MiB"] for name, size in self.memory.items()], right=(1,))

    def _chunks(self) -> list[str]:
        plan = self.chunks
        if plan is None:
            return ["the length of chunks follows from the training sequences: name the table with --data"]
        parts = {**plan.parts, "predicted peak of the process": plan.peak}
        return [
            f"{plan.rows} rows of up to {plan.longest:,} steps: {plan.chunks:,} chunks of {plan.steps:,} steps",
            *aligned([[name, format_size(size)] for name, size in parts.items()], right=(1,)),
        ]

    def _kernels(self) -> list[str]:
        lines = []
        for stage in self.stages:
            if stage.kernel is not None:
                lines.append(f"{stage.name}: {stage.kernel.label}")
                lines += [f"  not {name}: {reason}" for name, reason in self._not_chosen(stage.kernel).items()]
        return lines

    def _not_chosen(self, choice: Choice) -> dict[str, str]:
        """Why each other kernel does not run."""
        later = f"can run too; {choice.name} is faster" if self.backend == "auto" else "core.backend names another"
        others = [name for name in KERNELS if name != choice.name]
        return {name: choice.refusals.get(name, later) for name in others}


def explain_model(
    model: SequenceModel, batch_size: int = 4, steps: int | None = None, chunks: Plan | None = None
) -> Explanation:
    """Run a small batch without observations through a built model, and note what happens.

    Args:
        model: fitted and built; its weights and mode stay as they are.
        batch_size: rows of the batch that is run, at least 1.
        steps: past steps of each row; omitted: `data.context_length`, or 50 where it is open.
        chunks: how `training.memory` cuts the training sequences, where they are known.

    Raises:
        UsageError: the model is not built, or there is nothing to run.
        KernelError: the recipe names a kernel that cannot run here.
    """
    if not hasattr(model, "core"):
        raise UsageError("the model is not built: vocabularies and scales come from data; fit it on a table first")
    steps = model.recipe.data.context_length or _STEPS if steps is None else steps
    if batch_size < 1 or steps < 1:
        raise UsageError(f"got batch_size {batch_size} and steps {steps}; expected at least 1 of each")
    was_training = model.training
    model.eval()
    try:
        stages = tuple(run_stages(model, blank_batch(model, batch_size, steps)))
    finally:
        model.train(was_training)
    training_rows = model.recipe.training.batch_size
    return Explanation(
        topology=model.topology(),
        stages=stages,
        measured=(batch_size, steps, model.horizon),
        memory=_memory(stages, training_rows / batch_size),
        training_rows=training_rows,
        backend=model.recipe.core.backend,
        front=_reach(model),
        streaming=_streaming(model),
        from_data=_from_data(model),
        budget=model.recipe.training.memory,
        chunks=chunks,
    )


def _memory(stages: tuple[Stage, ...], batches: float) -> dict[str, float]:
    """MiB for so many times the batch that was run."""
    weights = sum(stage.parameters for stage in stages) * _NUMBER / _MIB
    activations = sum(stage.kept for stage in stages) * batches * _NUMBER / _MIB
    parts = {"weights": weights, "gradients": weights, "two moments of AdamW": 2 * weights, "activations": activations}
    return {**parts, "total": sum(parts.values())}


def _reach(model: SequenceModel) -> Reach | None:
    front = model.front
    return Reach(front.receptive_field, front.factor, front.lookahead, front.delay) if front.convs() else None


def _streaming(model: SequenceModel) -> str:
    if not model.causal:
        return f"no: the model {model.reads_ahead}, so its answers wait for later steps; leave that out to stream"
    whole = next((name for name, input in model.inputs.items() if input.own_axis), None)
    if whole is not None:
        return f"no: inputs.{whole} is taken apart as a whole, and a part of it may fall into other steps"
    held = size(model.initial_state(1))
    return (
        f"yes: the model is causal, no step reads a later one; {held:,} numbers of state for each sequence, "
        "however long it is"
    )


def _from_data(model: SequenceModel) -> tuple[str, ...]:
    """Vocabulary sizes, and columns found."""
    found = []
    for place, parts in (("input", model.inputs), ("output", model.outputs)):
        for name, part in parts.items():
            vocabulary, standard = getattr(part, "vocabulary", None), getattr(part, "standard", None)
            tokenizer = getattr(part, "tokenizer", None)
            if tokenizer is not None:
                found.append(f"{place} {name}: {len(tokenizer):,} tokens in its vocabulary, marks included")
            if vocabulary is not None:
                found.append(f"{place} {name}: {len(vocabulary.words)} texts in the training part")
            if standard is not None:
                found.append(
                    f"{place} {name}: numbers in its columns, mean and deviation of each: {len(standard.mean)}"
                )
    return tuple(found)


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def _stage(stage: Stage) -> dict[str, Any]:
    """A stage as plain values."""
    kernel = stage.kernel and {"name": stage.kernel.name, "refusals": dict(stage.kernel.refusals)}
    return {
        "name": stage.name.strip(),
        "shape": list(stage.shape),
        "parameters": stage.parameters,
        "note": stage.note,
        "kernel": kernel,
    }
