"""Findings and diseases in plain text."""

from __future__ import annotations

from collections.abc import Sequence

from seqloom.doctor.diseases import Diagnosis
from seqloom.doctor.findings import Findings
from seqloom.explain.columns import aligned


def describe(findings: Findings, found: Sequence[Diagnosis]) -> str:
    """What was measured, then each disease with its evidence and treatment."""
    sections = {
        "Core, by layer": _layers(findings),
        "Lags that matter in the data": [_reach(findings)],
        "Training": _course(findings),
        "Diagnosis": prescription(found) or ["healthy: nothing to change"],
    }
    return "\n\n".join("\n".join([title, *(f"  {line}" for line in lines)]) for title, lines in sections.items()) + "\n"


def _layers(findings: Findings) -> list[str]:
    lags = _shown_lags(findings)
    head = ["", *(f"gradient at lag {lag}" for lag in lags), "growth", "flat gates", "dead units", "memory"]
    rows = [
        [
            layer.name,
            *(f"{layer.left(lag):.2g}" for lag in lags),
            f"{layer.growth:.3f}",
            ", ".join(f"{gate} {share:.0%}" for gate, share in layer.saturated.items()) or "unknown: no equations",
            f"{layer.dead:.0%}",
            "no gate keeps" if layer.memory is None else f"{layer.memory:.3g} steps",
        ]
        for layer in findings.layers
    ]
    return [*aligned([head, *rows]), "(gradients over that at lag 1; growth by the Jacobian of one step)"]


def _shown_lags(findings: Findings) -> list[int]:
    longest = max((len(layer.gradient) for layer in findings.layers), default=1)
    shown = {4, findings.lag or longest, longest}
    return sorted(lag for lag in shown if 1 < lag <= longest)


def _reach(findings: Findings) -> str:
    reach = findings.reach
    if reach.steps is None:
        return f"unknown: {reach.reason}"
    blocks = ", ".join(f"{first}..{2 * first - 1}: {share:.0%}" for first, share in reach.explained.items())
    return f"up to {reach.steps} steps back (of the answer's variance, lags explain {blocks})"


def _course(findings: Findings) -> list[str]:
    course = findings.course
    moved = ", ".join(f"{part} {distance:.2g}" for part, distance in findings.moved.items())
    lines = [f"weights have moved by so many times their first size: {moved}"]
    if course is None:
        return [*lines, "no norms of gradients in the log"]
    updates = ", ".join(f"{part} {ratio:.2g}" for part, ratio in course.updates.items())
    return [
        *lines,
        f"largest step over the weights: {updates}",
        f"norm of the gradient {course.norm:.2g}, clipped in {course.clipped:.0%} of {course.steps} steps",
        f"loss from {course.first_loss:.4g} to {course.last_loss:.4g}",
    ]


def prescription(found: Sequence[Diagnosis]) -> list[str]:
    """Each disease with its evidence, and what to change."""
    lines = []
    for diagnosis in found:
        lines += [diagnosis.name.upper(), f"  {diagnosis.evidence}"]
        lines += [f"  change {edit}: {edit.reason}" for edit in diagnosis.edits]
        if not diagnosis.edits:
            lines.append("  no setting is known to help")
    return lines
