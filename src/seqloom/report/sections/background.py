"""What stands behind the figures: pre-flight ledger, model, recipe and environment."""

from __future__ import annotations

from collections import Counter

from seqloom.report.html import Html, element, note, section, table
from seqloom.report.numbers import plural
from seqloom.report.run_files import RunFiles

PROBLEMS = 200


def ledger(run: RunFiles) -> Html:
    """Counts by severity, then every problem found before training."""
    if run.ledger is None:
        return section("Pre-flight ledger", note("No pre-flight ledger: run `seqloom check RECIPE --data PATH`."))
    if not run.ledger:
        return section("Pre-flight ledger", note("The check before training found nothing to report."))
    counts = Counter(str(problem.get("severity", "unknown")) for problem in run.ledger)
    totals = ", ".join(plural(count, severity) for severity, count in counts.items())
    rows = [
        [
            element("span", problem.get("severity", ""), class_=f"tag {_tag(problem.get('severity'))}"),
            element("code", problem.get("code", "")),
            problem.get("message", ""),
            problem.get("where", ""),
            problem.get("count", ""),
        ]
        for problem in run.ledger[:PROBLEMS]
    ]
    more = len(run.ledger) - PROBLEMS
    limit = note(f"{more} more are in ledger.json.") if more > 0 else None
    return section(
        "Pre-flight ledger", note(f"{totals}."), table(["severity", "code", "message", "where", "count"], rows), limit
    )


def model(run: RunFiles) -> Html:
    """Topology and shapes as `seqloom explain` prints them."""
    missing = note(f"No description: run `seqloom explain {run.path.name}`.")
    return section("Model", _text(run.explanation) if run.explanation else missing)


def recipe(run: RunFiles) -> Html:
    """The full recipe, defaults included."""
    return section("Recipe", _text(run.recipe) if run.recipe else note("No recipe was found in this run."))


def environment(run: RunFiles) -> Html:
    """Versions and machine."""
    if not run.environment:
        return section("Environment", note("No environment.json was found in this run."))
    return section("Environment", table(["what", "value"], list(run.environment.items())))


def _text(text: str) -> Html:
    return element("pre", element("code", text), tabindex="0")


def _tag(severity: object) -> str:
    """A class of the style sheet; unknown severities look neutral."""
    return severity if isinstance(severity, str) and severity in {"error", "warning"} else "info"
