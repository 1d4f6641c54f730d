"""The diseases: how each is told from the findings, and the change of the recipe that treats it.

They stand in the order of cause and effect. One that was found hides those that follow from it: with a learning
rate that wrecks the weights, saturated gates and vanished gradients are no diseases of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from seqloom.cells.cell import Cell
from seqloom.doctor.findings import Findings, Layer
from seqloom.gates import keeper
from seqloom.layers.beginning import why_no_memory, why_not_orthogonal
from seqloom.lookup import find, names
from seqloom.outputs.output import Output, Shape
from seqloom.recipe import Recipe

# Every threshold, and why it stands where it does.
RATE_TOO_HIGH = 0.3  # AdamW moves a weight by about lr each step: a third of its first size shakes what was learned
HOPELESS = 1.0  # a step replaces each weight altogether, whatever comes of it
MOVED_FAR = 5.0  # times the first size: no longer a change of what was there at the start
MOVED_LITTLE = 0.05  # of the first size: what the model does is still what chance made of it
ENOUGH_STEPS = 50  # after the warm-up; fewer say nothing about a rate that is too low
EXPLODED = 100.0  # a step so far back outweighs the last one a hundredfold: batches differ by what they began with
SATURATED = 0.6  # of all gates; gates that remember or count are flat half of the time and work well
DEAD = 0.2  # of a layer's units; below it the others make up for them
FORGOTTEN = 3.0  # memories: exp(-3) = 5 % of what was stored is left
VANISHED = 0.01  # of the gradient at lag 1: below it the near steps' noise is larger than the far steps' signal
CLIPPED = 0.95  # of the steps: hardly any gradient keeps its own size
CLIPPED_BY = 10.0  # the usual norm over training.max_norm; a few times too large is what clipping is for
LONG = 256  # steps of the core beyond which shortening the sequence costs less than remembering it


class Edit(NamedTuple):
    """One change of a recipe: `key` is a path such as `training.lr`."""

    key: str
    value: Any
    reason: str

    def __str__(self) -> str:
        return f"{self.key}={self.value}"


class Disease(NamedTuple):
    """One row of the table.

    Attributes:
        name: what it is called.
        rule: the evidence in words, None where it is not there.
        advice: what to change; nothing where no setting is known to help.
        explains: diseases that follow from it, and are not named beside it.
    """

    name: str
    rule: Callable[[Findings, Recipe], str | None]
    advice: Callable[[Findings, Recipe], list[Edit]]
    explains: tuple[str, ...] = ()


class Diagnosis(NamedTuple):
    """A disease that was found."""

    name: str
    evidence: str
    edits: tuple[Edit, ...]


def to_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """Plain values."""
    return {**diagnosis._asdict(), "edits": [edit._asdict() for edit in diagnosis.edits]}


def diagnose(findings: Findings, recipe: Recipe) -> list[Diagnosis]:
    """The diseases found, causes first; none for a healthy run."""
    found: list[Diagnosis] = []
    explained: set[str] = set()
    for disease in DISEASES:
        evidence = None if disease.name in explained else disease.rule(findings, recipe)
        if evidence is not None:
            found.append(Diagnosis(disease.name, evidence, tuple(disease.advice(findings, recipe))))
            explained |= set(disease.explains)
    return found


def rate_too_high(findings: Findings, recipe: Recipe) -> str | None:
    """One step is large beside the weights, and they have left their first size behind, or broke down at once."""
    step, moved = recipe.training.lr / findings.first_size, _core_moved(findings)
    if step < RATE_TOO_HIGH or (moved < MOVED_FAR and step < HOPELESS):
        return None
    return (
        f"training.lr {recipe.training.lr:g} is {step:.2g} times a typical weight of the core at the start, and its "
        f"weights have moved by {moved:.2g} times their first size; expected below {RATE_TOO_HIGH:g} and {MOVED_FAR:g}"
    )


def lower_rate(findings: Findings, recipe: Recipe) -> list[Edit]:
    """A step of a thirtieth of a typical weight."""
    lr = min(findings.first_size / 30, recipe.training.lr / 3)
    return [Edit("training.lr", _round(lr), "a step moves a weight by a few hundredths of its size")]


def exploding(findings: Findings, recipe: Recipe) -> str | None:
    """Gradients grow on their way back."""
    worst = max(findings.layers, key=_peak)
    if _peak(worst) < EXPLODED:
        return None
    return (
        f"{worst.name}: the gradient grows to {_peak(worst):.3g} times its size at lag 1 on its way back, by "
        f"{worst.growth:.3f} a step; expected below {EXPLODED:g} times"
    )


def tame(findings: Findings, recipe: Recipe) -> list[Edit]:
    """Norms within the cell, and a limit to what is left."""
    edits = _other_cell(recipe, "norms inside the cell keep its recurrence from growing")
    if not edits and not recipe.core.orthogonal and why_not_orthogonal(_cell(recipe)) is None:
        edits = [Edit("core.orthogonal", True, "orthogonal matrices do not make a state longer")]
    if recipe.training.max_norm > 1:
        edits.append(Edit("training.max_norm", 1.0, "what still grows is cut to this norm"))
    return edits


def saturated(findings: Findings, recipe: Recipe) -> str | None:
    """Most gates are flat most of the time."""
    worst = max(findings.layers, key=lambda layer: layer.saturation)
    if worst.saturation < SATURATED:
        return None
    shares = ", ".join(f"{gate} {share:.0%}" for gate, share in worst.saturated.items())
    return f"{worst.name}: gates are flat at {shares} of all steps; expected below {SATURATED:.0%} on average"


def normalise(findings: Findings, recipe: Recipe) -> list[Edit]:
    """A cell with norms inside; where it has them, smaller steps."""
    edits = _other_cell(recipe, "norms before the gates keep them where they move")
    return edits or [Edit("training.lr", _round(recipe.training.lr / 3), "smaller steps overshoot less")]


def dead(findings: Findings, recipe: Recipe) -> str | None:
    """Units that never move."""
    worst = max(findings.layers, key=lambda layer: layer.dead)
    if worst.dead < DEAD:
        return None
    return f"{worst.name}: {worst.dead:.0%} of its units give the same at every step; expected below {DEAD:.0%}"


def cut_short(findings: Findings, recipe: Recipe) -> str | None:
    """Pieces of training are shorter than the lags that matter."""
    steps, lag = recipe.training.tbptt_steps, findings.reach.steps
    if steps is None or lag is None or steps >= lag:
        return None
    return (
        f"gradients end after training.tbptt_steps {steps}, but inputs matter up to {lag} steps back; expected at "
        "least so many"
    )


def longer_pieces(findings: Findings, recipe: Recipe) -> list[Edit]:
    """Pieces half as long again as the lag."""
    steps = math.ceil(1.5 * (findings.reach.steps or 1))
    return [Edit("training.tbptt_steps", steps, "a piece holds the input and the answer that it matters for")]


def forgetful(findings: Findings, recipe: Recipe) -> str | None:
    """Gates forget before what they stored is asked for, and the gradient that would change them is gone as well."""
    lag = findings.lag
    memories = [layer.memory for layer in findings.layers if layer.memory is not None]
    if lag is None or not memories or lag < FORGOTTEN * max(memories) or _left(findings, lag) > VANISHED:
        return None
    return (
        f"forget gates keep a value for {max(memories):.3g} steps, but inputs matter up to {lag} steps back, where "
        f"{_left(findings, lag):.1g} of the gradient is left; expected a memory of {lag / FORGOTTEN:.0f} or more"
    )


def remember(findings: Findings, recipe: Recipe) -> list[Edit]:
    """Longer memories from the start; where they are, a shorter sequence."""
    lag = findings.lag or 1
    wanted = 2 * lag
    if why_no_memory(_cell(recipe)) is None and (recipe.core.memory_steps or 0) < wanted:
        edits = [Edit("core.memory_steps", wanted, f"half of the units begin with a memory of {lag} steps or more")]
        return edits + (_shorter(recipe) if lag > LONG else [])
    return _shorter(recipe) or _gated(recipe, wanted)


def vanishing(findings: Findings, recipe: Recipe) -> str | None:
    """Too little of the gradient arrives where inputs matter."""
    lag = findings.lag
    if lag is None or _left(findings, lag) > VANISHED:
        return None
    growth = max(layer.growth for layer in findings.layers)
    return (
        f"{_left(findings, lag):.1g} of the gradient at lag 1 is left {lag} steps back, where inputs still matter "
        f"(a factor of {growth:.3f} a step); expected {VANISHED:g} or more"
    )


def rate_too_low(findings: Findings, recipe: Recipe) -> str | None:
    """After all its steps the model is where it began; while the rate still rises that says nothing."""
    moved, steps = _core_moved(findings), findings.course.steps if findings.course else 0
    if steps - recipe.training.warmup_steps < ENOUGH_STEPS or moved > MOVED_LITTLE:
        return None
    return (
        f"in {steps} steps the core's weights have moved by {moved:.2g} of their first size; expected "
        f"{MOVED_LITTLE:g} or more"
    )


def raise_rate(findings: Findings, recipe: Recipe) -> list[Edit]:
    """A step of a thirtieth of a typical weight."""
    lr = max(findings.first_size / 30, 3 * recipe.training.lr)
    return [Edit("training.lr", _round(lr), "a step moves a weight by a few hundredths of its size")]


def always_clipped(findings: Findings, recipe: Recipe) -> str | None:
    """Clipping decides the size of every gradient."""
    course, limit = findings.course, recipe.training.max_norm
    if course is None or course.clipped < CLIPPED or course.norm < CLIPPED_BY * limit:
        return None
    return (
        f"{course.clipped:.0%} of the steps were clipped to training.max_norm {limit:g}, with a usual norm of "
        f"{course.norm:.2g}; expected less than {CLIPPED:.0%}, so that a large gradient counts more than a small one"
    )


def clip_less(findings: Findings, recipe: Recipe) -> list[Edit]:
    """Only the largest tenth of the gradients is clipped."""
    norm = findings.course.high_norm if findings.course else recipe.training.max_norm
    return [Edit("training.max_norm", _round(norm), "nine of ten gradients keep their size")]


UNREACHED = ("memory too short for the data", "vanishing gradients")
DISEASES = (
    Disease(
        "learning rate too high",
        rate_too_high,
        lower_rate,
        ("saturated gates", "exploding gradients", "dead units", *UNREACHED),
    ),
    Disease("learning rate too low", rate_too_low, raise_rate),
    Disease(
        "saturated gates",
        saturated,
        normalise,
        ("exploding gradients", "dead units", *UNREACHED),
    ),
    Disease("exploding gradients", exploding, tame, ("clipping all the time",)),
    Disease("dead units", dead, normalise),
    Disease("pieces too short for the data", cut_short, longer_pieces),
    Disease("memory too short for the data", forgetful, remember, ("vanishing gradients",)),
    Disease("vanishing gradients", vanishing, lambda findings, recipe: _gated(recipe, 2 * (findings.lag or 1))),
    Disease("clipping all the time", always_clipped, clip_less),
)


def _peak(layer: Layer) -> float:
    """The largest gradient at any lag, over that at lag 1; infinite where it is no number."""
    worst = max((value if math.isfinite(value) else math.inf for value in layer.gradient.tolist()), default=0.0)
    return float(worst)


def _left(findings: Findings, lag: int) -> float:
    """What is left of the gradient at a lag, in the layer where most is."""
    return max(layer.left(lag) for layer in findings.layers)


def _core_moved(findings: Findings) -> float:
    return max(moved for part, moved in findings.moved.items() if part.startswith("layer"))


def _cell(recipe: Recipe) -> type[Cell]:
    return find("cells", recipe.core.cell, Cell)


def _other_cell(recipe: Recipe, reason: str) -> list[Edit]:
    """The cell of the same kind with norms inside; none where there is no such cell."""
    normed = {"lstm": "layer_norm_lstm", "peephole_lstm": "layer_norm_lstm", "gru": "layer_norm_gru"}
    name = normed.get(recipe.core.cell, "")
    return [Edit("core.cell", name, reason)] if name in names("cells") else []


def _gated(recipe: Recipe, memory: int) -> list[Edit]:
    """A cell whose gates keep its state; where it has them, matrices that keep its length."""
    core = recipe.core
    if keeper(_cell(recipe)) is None and not core.options and core.elapsed is None:
        edits = [Edit("core.cell", "lstm", "its memory is kept by a gate, and gradients with it")]
        edits.append(Edit("core.memory_steps", memory, "memories reach what matters from the first step on"))
        return edits + ([Edit("core.orthogonal", False, "gates do its work")] if recipe.core.orthogonal else [])
    if recipe.core.memory_steps is None and why_no_memory(_cell(recipe)) is None:
        return [Edit("core.memory_steps", memory, "memories reach what matters from the first step on")]
    if not recipe.core.orthogonal and why_not_orthogonal(_cell(recipe)) is None:
        return [Edit("core.orthogonal", True, "orthogonal matrices do not make a state shorter")]
    return _shorter(recipe)


def _shorter(recipe: Recipe) -> list[Edit]:
    """Convolutions that make four steps one; not where every step is answered."""
    each_step = [
        name for name, entry in recipe.outputs.items() if find("outputs", entry.kind, Output).shape is not Shape.VECTOR
    ]
    if recipe.core.front or each_step:
        return []
    layer = {"channels": recipe.core.hidden_size, "kernel_size": 8, "stride": 4}
    return [Edit("core.front", [layer], "four steps become one: the core has a quarter of the way to remember")]


def _round(value: float) -> float:
    """Two significant digits."""
    return float(f"{value:.2g}")


def merged(found: Sequence[Diagnosis]) -> list[Edit]:
    """The edits of all diseases; of two for one setting that of the earlier disease."""
    edits: dict[str, Edit] = {}
    for diagnosis in found:
        for edit in diagnosis.edits:
            edits.setdefault(edit.key, edit)
    return list(edits.values())
