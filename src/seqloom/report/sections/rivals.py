"""Rivals: every metric of the model and of its rivals, with intervals and receipts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from seqloom.report.html import Html, element, note, section, table
from seqloom.report.numbers import interval, number
from seqloom.report.run_files import Output, RunFiles


def rivals(run: RunFiles, output: Output) -> Html:
    """One row per contender, one column per metric, the best of each column marked."""
    title = f"Rivals{output.of}"
    metrics: Mapping[str, Any] = output.scores.get("metrics", {})
    if not metrics:
        return section(title, note(f"Not evaluated yet: run `seqloom evaluate {run.path.name} --data PATH`."))
    contenders = {"model": metrics}
    contenders |= {name: scores["metrics"] for name, scores in output.scores.get("rivals", {}).items()}
    best = {name: _best(name, contenders) for name in metrics}
    head = ["", *(_heading(name, metric) for name, metric in metrics.items())]
    rows = [
        [element("strong", who.replace("_", " ")), *(_cell(scores.get(name), who in best[name]) for name in metrics)]
        for who, scores in contenders.items()
    ]
    explained = note(
        "Below each value: its 95 % interval, by resampling whole windows, examples or sequences. "
        "Marked: the best value of each column."
    )
    alone = None if len(contenders) > 1 else note("No rival was evaluated.")
    return section(title, table(head, rows), explained, alone, *_remarks(output), _receipts(metrics))


def _remarks(output: Output) -> Iterator[Html]:
    """What the rivals repaired or replaced on the way, and why others did not run."""
    for name, scores in output.scores.get("rivals", {}).items():
        for remark in scores.get("notes", []):
            yield note(f"{name.replace('_', ' ')}: {remark}")
    for name, reason in output.scores.get("rivals_skipped", {}).items():
        yield note(f"{name.replace('_', ' ')} did not run: {reason}.")


def _heading(name: str, metric: Mapping[str, Any]) -> Html:
    unit = f" ({metric['unit']})" if metric["unit"] else ""
    return element("span", name, element("small", unit), title=metric["receipt"])


def _cell(metric: Mapping[str, Any] | None, best: bool) -> Html:
    if metric is None:
        return element("span", "–")
    value = element("span", number(metric["value"]), class_="best" if best else "value")
    return element("div", value, element("small", interval(metric)), class_="figure")


def _best(name: str, contenders: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Who is best at a metric; nobody when there is nobody to compare with."""
    distances = {
        who: _distance(name, metrics[name])
        for who, metrics in contenders.items()
        if metrics.get(name, {}).get("value") is not None
    }
    if len(distances) < 2:
        return []
    return [who for who, distance in distances.items() if distance == min(distances.values())]


def _distance(name: str, metric: Mapping[str, Any]) -> float:
    """How far a value is from its best; smaller is better."""
    value = float(metric["value"])
    if metric["better"] == "nominal":
        return abs(value - float(name.rsplit("-", 1)[1]))
    return {"lower": value, "higher": -value, "zero": abs(value)}[metric["better"]]


def _receipts(metrics: Mapping[str, Any]) -> Html:
    title = element("summary", "Receipts: what each metric means, and the hash of its computation")
    return element(
        "details", title, *(element("p", metric["receipt"], class_="receipt") for metric in metrics.values())
    )
