"""Summary: the verdict in plain words, then the main figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seqloom.report.html import Html, element, note, paragraph, section
from seqloom.report.numbers import interval, number, plural, with_unit
from seqloom.report.run_files import Output, RunFiles
from seqloom.report.sections.comparison import Comparison, compare, headline

COUNTED = {
    "forecast": "window",
    "category": "example",
    "number": "example",
    "labels": "sequence",
    "items": "sequence",
    "liked": "sequence",
    "tags": "example",
    "span": "example",
    "text": "example",
}
CARDS = (
    *("MAE", "MASE", "RMSE", "R2", "accuracy", "EM", "F1", "macro-F1", "AUC", "log-loss", "calibration-error"),
    *("Hit", "NDCG", "MRR", "perplexity", "BLEU", "BLEU-greedy", "chrF"),
)


def summary(run: RunFiles) -> Html:
    """What came out, against whom, and what to do."""
    if not run.metrics:
        verdict = element("p", _unevaluated(run), class_="verdict unknown")
        return section("Summary", verdict, *map(note, run.problems))
    answers = [part for output in run.outputs for part in _answer(output, len(run.outputs) > 1)]
    return section("Summary", *answers, _leak_test(run.metrics), _looks(run.metrics), *map(note, run.problems))


def _unevaluated(run: RunFiles) -> str:
    return f"This run is not evaluated yet: run `seqloom evaluate {run.path.name} --data PATH`, then report again."


def _answer(output: Output, several: bool) -> list[Html | None]:
    heading = [element("h3", output.name) if several else None]
    found = headline(output)
    if found is None:
        return [*heading, note(f"No metrics are known for {output.name}.")]
    against = compare(output)
    name, metric = found
    first = f"The model's {name} is {with_unit(metric['value'], metric['unit'])}"
    spread = f" (95 % interval {interval(metric)})" if interval(metric) else ""
    extent = f" over {plural(output.scores.get('windows', 0), COUNTED.get(output.kind, 'window'))}"
    verdict = element(
        "p",
        element("strong", first + spread),
        f"{extent}. ",
        "No rival was evaluated, so nothing says whether this is good." if against is None else _versus(against),
        class_=f"verdict {_mood(against)}",
    )
    return [*heading, verdict, _cards(output), _coverage_sentence(output)]


def _versus(against: Comparison) -> str:
    rival, share = against.rival_name.replace("_", " "), _lead(against)
    than = f"{rival} ({with_unit(against.rival['value'], against.rival['unit'])})"
    better, worse = ("below", "above") if against.model["better"] == "lower" else ("above", "below")
    chance = "" if against.certain else " Their intervals overlap, so the difference may be chance."
    if against.gain > 0:
        return f"That is {share} {better} its best rival, {than}.{chance}"
    if against.gain < 0:
        return f"That is {share} {worse} {than}. {rival.capitalize()} is better here: use it.{chance}"
    return f"That is no better than {than}: use {rival}, which needs no training."


def _lead(against: Comparison) -> str:
    """The distance in points where the metric is a percentage, else as a share of the rival's value."""
    if against.model["unit"] == "%":
        return f"{abs(against.model['value'] - against.rival['value']):.1f} points"
    return f"{abs(100 * against.gain):.0f} %"


def _mood(against: Comparison | None) -> str:
    if against is None:
        return "unknown"
    if against.gain <= 0:
        return "bad"
    return "good" if against.certain else "unsure"


def _cards(output: Output) -> Html:
    metrics = output.scores["metrics"]
    names = [name for card in CARDS for name in metrics if name.partition("@")[0] == card]
    names += [name for name in metrics if name.startswith("coverage-")]
    return element("div", *(_card(name, metrics[name]) for name in names), class_="cards")


def _card(name: str, metric: Mapping[str, Any]) -> Html:
    return element(
        "div",
        element("span", name, class_="name"),
        element("span", number(metric["value"]), element("small", f" {metric['unit']}"), class_="value"),
        element("span", interval(metric) or "no interval", class_="interval"),
        class_="card",
    )


def _coverage_sentence(output: Output) -> Html | None:
    metrics = output.scores["metrics"]
    parts = [
        f"the {name.split('-')[1]} % intervals in {number(metric['value'])} % of the points"
        for name, metric in metrics.items()
        if name.startswith("coverage-") and metric["value"] is not None
    ]
    return paragraph("The truth fell inside ", " and inside ".join(parts), ".") if parts else None


def _looks(metrics: Mapping[str, Any]) -> Html | None:
    """How often the test part was scored, where it was more than once."""
    looks = metrics.get("looks", 1)
    if looks < 2:
        return None
    return note(
        f"The {metrics.get('part', 'test')} part has been scored {looks} times in this run: figures flatter a model "
        "that was changed after a look."
    )


def _leak_test(metrics: Mapping[str, Any]) -> Html | None:
    test = metrics.get("leak_test")
    if not test:
        return None
    windows = plural(test.get("windows", 0), "window")
    if test.get("passed"):
        return paragraph(f"Leak test passed: forecasts of {windows} did not move when the future was changed.")
    change = number(test.get("largest_change"))
    return element(
        "p",
        f"Leak test FAILED over {windows}: forecasts moved by up to {change} when the future was changed. "
        "The figures of this page cannot be trusted.",
        class_="verdict bad",
    )
