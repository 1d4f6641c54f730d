"""The training loop. Read it from top to bottom.

Step k reads what its lessons give it and draws its dropout from a seed made of the recipe's seed and k. So a step
is a function of the weights, the optimiser's moments, the state that lessons carry and k, and a resumed run
repeats it to the last bit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqloom.errors import Interrupted
from seqloom.kernels import native
from seqloom.model import SequenceModel
from seqloom.recipe import TrainingSettings
from seqloom.training.checkpoint import load_checkpoint, save_checkpoint
from seqloom.training.checkpoint_mean import CheckpointMean, Mean
from seqloom.training.checkup import Checkup
from seqloom.training.exact import Exact
from seqloom.training.finite import stop_non_finite
from seqloom.training.interrupt import Interrupt
from seqloom.training.journal import Journal
from seqloom.training.lessons import Lessons, Material
from seqloom.training.measure import measure
from seqloom.training.memory import try_worst_batch
from seqloom.training.optim import (
    WeightAverage,
    learning_rate,
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
)
from seqloom.training.streams import Streams
from seqloom.training.updates import relative_updates, weights_by_part
from seqloom.training.watcher import Watcher
from seqloom.training.windows import Windows


@dataclass
class Standing:
    """Where training stands: what a checkpoint holds besides tensors."""

    step: int = 0  # steps done
    best_loss: float = float("inf")
    best_step: int = 0
    bad_validations: int = 0
    seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)  # of the last validation
    best_metrics: dict[str, float] = field(default_factory=dict)
    mean_of: list[int] = field(default_factory=list)  # steps whose mean is kept, where it is better than the best


class Kept(NamedTuple):
    """Weights beside those that are trained.

    Attributes:
        average: their running mean.
        best: those of the best validation.
        mean: those of several validations.
    """

    average: WeightAverage
    best: dict[str, Tensor]
    mean: CheckpointMean


def train(
    model: SequenceModel,
    material: Material,
    run: Path,
    *,
    watcher: Watcher | None = None,
    checkup: Checkup | None = None,
    resume: bool = False,
) -> Standing:
    """Train a built model; its best weights are loaded at the end.

    Args:
        model: fitted and built.
        material: encoded data.
        run: the run directory: `checkpoints/`, `log.jsonl` and `tensorboard/` are written there.
        watcher: is told of every step.
        checkup: looks at the model every `training.doctor_every` steps.
        resume: go on from the newest valid checkpoint in `run`.

    Raises:
        NonFiniteError: the loss stopped being a number.
        Interrupted: Ctrl-C or SIGTERM; a checkpoint was written.
        CheckpointError: `resume`, and no checkpoint is valid.
    """
    with _quarantine(model.recipe.training):
        return _train(model, material, run, watcher or Watcher(), checkup, resume)


@contextmanager
def _quarantine(settings: TrainingSettings) -> Iterator[None]:
    """The recipe's determinism and threads, and random numbers of our own; the caller's are put back afterwards.

    What the kernels kept of their memory goes back to the system.
    """
    memory: Any = torch.utils.deterministic
    deterministic, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    fill = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(settings.deterministic)
    # Otherwise torch first writes NaN into all new memory, which takes a tenth of a step; nothing is read unwritten.
    memory.fill_uninitialized_memory = False
    torch.set_num_threads(settings.threads or threads)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        memory.fill_uninitialized_memory = fill
        torch.set_num_threads(threads)
        native.forget()


def _train(
    model: SequenceModel,
    material: Material,
    run: Path,
    watcher: Watcher,
    checkup: Checkup | None,
    resume: bool,
) -> Standing:
    settings = model.recipe.training
    lessons = _lessons(model, material)
    optimizer = make_optimizer(model, settings)
    kept = Kept(
        WeightAverage(model, settings.average),
        {name: weight.detach().clone() for name, weight in model.state_dict().items()},
        CheckpointMean(settings.average_best, settings.average_last),
    )
    standing = Standing()
    if resume:
        standing = _restore(run, lessons, optimizer, kept, watcher)
    else:
        try_worst_batch(lessons)
        _save(run, lessons, optimizer, kept, standing)  # a run can be resumed from its first moment on
    began = time.monotonic() - standing.seconds
    with closing(Journal(run, standing.step)) as journal, Interrupt() as interrupt:
        while not _over(standing, settings):
            due = (standing.step + 1) % settings.validate_every == 0 or standing.step + 1 == settings.steps
            before = weights_by_part(model) if due else {}
            loss, norm = _step(lessons, optimizer, standing.step)
            kept.average.update(model, standing.step)
            standing.step += 1
            standing.seconds = time.monotonic() - began
            epoch = standing.step * settings.accumulate / lessons.per_epoch
            lr = learning_rate(settings, standing.step - 1)
            journal.train(standing.step, loss, lr, epoch, standing.seconds, norm, relative_updates(model, before))
            watcher.step(standing.step, loss)
            if due:
                _validate(model, material, kept, standing)
                if standing.metrics:
                    journal.valid(standing.step, epoch, standing.metrics)
                watcher.validation(standing.step, standing.metrics, standing.best_step == standing.step)
            over = _over(standing, settings)
            if checkup and settings.doctor_every and (standing.step % settings.doctor_every == 0 or over):
                _examine(checkup, standing.step, epoch, journal, watcher)
            if due or interrupt.asked:  # after all that is written down of this step, so that none of it is lost
                _save(run, lessons, optimizer, kept, standing)
            if interrupt.asked and not over:
                raise Interrupted(f"stopped after step {standing.step}; go on with `seqloom resume {run}`")
        if kept.mean.wanted:
            _try_means(model, material, kept, standing, journal, watcher)
    model.load_state_dict(kept.best)
    return standing


def _over(standing: Standing, settings: TrainingSettings) -> bool:
    """Whether all steps are done, or validations have not become better for too long."""
    return standing.step >= settings.steps or standing.bad_validations >= settings.patience


def _lessons(model: SequenceModel, material: Material) -> Lessons:
    """The way of learning that the recipe asks for."""
    settings = model.recipe.training
    if settings.tbptt_steps is not None:
        return Streams(model, material)
    return Windows(model, material) if settings.memory is None else Exact(model, material)


def _step(lessons: Lessons, optimizer: torch.optim.AdamW, step: int) -> tuple[float, float]:
    """One optimiser step; returns the mean loss of its batches and the norm of the gradient before it was clipped."""
    model, settings = lessons.model, lessons.settings
    torch.manual_seed(settings.seed * 1_000_003 + step)
    model.train()
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(settings, step)
    optimizer.zero_grad(set_to_none=True)
    lessons.progress = step / settings.steps
    total = 0.0
    for number in range(step * settings.accumulate, (step + 1) * settings.accumulate):
        total += lessons.learn(number, 1 / settings.accumulate) / settings.accumulate
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_norm)
    if not (np.isfinite(total) and bool(torch.isfinite(norm))):
        stop_non_finite(model, lessons.reads(number), step + 1, total)
    optimizer.step()
    return total, norm.item()


def _examine(checkup: Checkup, step: int, epoch: float, journal: Journal, watcher: Watcher) -> None:
    """Let the doctor look; what it finds is written down, and told once."""
    began = time.monotonic()
    visit = checkup.visit(step)
    journal.doctor(step, epoch, visit.diagnoses, time.monotonic() - began)
    if visit.news:
        watcher.warn(visit.news)


@torch.no_grad()
def _validate(model: SequenceModel, material: Material, kept: Kept, standing: Standing) -> None:
    """Measure the averaged weights (the last ones, without averaging); keep them where they are the best."""
    current = {name: weight.clone() for name, weight in model.state_dict().items()}
    model.load_state_dict(kept.average.weights if kept.average.decay else current)
    standing.metrics = measure(model, material.encoded, material.valid)
    # Without a validation part there is nothing to choose by: the newest weights are kept.
    if standing.metrics.get("loss", -float("inf")) < standing.best_loss:
        standing.best_loss = standing.metrics.get("loss", float("inf"))
        standing.best_metrics, standing.best_step, standing.bad_validations = standing.metrics, standing.step, 0
        for name, weight in model.state_dict().items():
            kept.best[name].copy_(weight)
    else:
        standing.bad_validations += 1
    if standing.metrics:
        kept.mean.take(standing.step, standing.metrics["loss"], model.state_dict())
    model.load_state_dict(current)


def _try_means(
    model: SequenceModel,
    material: Material,
    kept: Kept,
    standing: Standing,
    journal: Journal,
    watcher: Watcher,
) -> None:
    """At the end, measure the means of several validations; one takes the place of the best where it is better."""
    means = list(kept.mean.means())
    for mean in means:
        model.load_state_dict(mean.weights)
        found = measure(model, material.encoded, material.valid)
        better = found["loss"] < standing.best_loss
        journal.mean(standing.step, mean.kind, mean.steps, found, better)
        watcher.note(_said(mean, found["loss"], None if better else standing.best_loss))
        if better:
            standing.best_loss, standing.best_metrics, standing.mean_of = found["loss"], found, mean.steps
            kept.best.update(mean.weights)
    if not means:
        watcher.warn("no weights were averaged: that needs two validations or more, before training.steps are done")


def _said(mean: Mean, loss: float, best: float | None) -> str:
    """What a person is told of a mean; `best` is the loss that it does not reach."""
    steps = ", ".join(map(str, mean.steps))
    verdict = "it is kept" if best is None else f"it is not kept, since the best of all has {best:.6g}"
    return f"the mean of the {mean.kind} weights, those of steps {steps}, has validation loss {loss:.6g}: {verdict}"


def _save(
    run: Path,
    lessons: Lessons,
    optimizer: torch.optim.AdamW,
    kept: Kept,
    standing: Standing,
) -> None:
    groups = {
        "model": lessons.model.state_dict(),
        "optimizer": optimizer_tensors(optimizer),
        "average": kept.average.weights,
        "best": kept.best,
        "mean": kept.mean.tensors(),
        "lessons": lessons.tensors(),
    }
    tensors = {f"{group}/{name}": tensor for group, found in groups.items() for name, tensor in found.items()}
    document = asdict(standing) | {"best_loss": standing.best_loss.hex(), "validated": kept.mean.document()}
    save_checkpoint(run / "checkpoints", standing.step, tensors, document)


def _restore(
    run: Path,
    lessons: Lessons,
    optimizer: torch.optim.AdamW,
    kept: Kept,
    watcher: Watcher,
) -> Standing:
    checkpoint = load_checkpoint(run / "checkpoints")
    for skipped in checkpoint.skipped:
        watcher.warn(f"a damaged checkpoint was passed over: {skipped}")
    names = ("model", "optimizer", "average", "best", "mean", "lessons")
    groups: dict[str, dict[str, Tensor]] = {name: {} for name in names}
    for key, tensor in checkpoint.tensors.items():
        group, _, name = key.partition("/")
        groups[group][name] = tensor
    lessons.model.load_state_dict(groups["model"])
    restore_optimizer(optimizer, groups["optimizer"])
    kept.average.weights.update(groups["average"])
    kept.best.update(groups["best"])
    lessons.restore(groups["lessons"])
    found = dict(checkpoint.document)
    kept.mean.restore(groups["mean"], found.pop("validated", {}))
    return Standing(**{**found, "best_loss": float.fromhex(found["best_loss"])})
