"""The headline metric of an output, and how the model stands against its best rival."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seqloom.report.run_files import Output

HEADLINES = {
    "forecast": "MAE",
    "category": "accuracy",
    "number": "MAE",
    "labels": "accuracy",
    "tags": "F1",
    "span": "F1",
    "liked": "AUC",
    "text": "BLEU",
}


@dataclass(frozen=True)
class Comparison:
    """Model against best rival on one metric.

    Attributes:
        metric: name of the metric.
        model, rival: their entries in `metrics.json`.
        rival_name: name of the rival.
        gain: how much better the model is, as a share of the rival's value; below 0 when it is worse.
        certain: whether the two 95 % intervals are apart.
    """

    metric: str
    model: Mapping[str, Any]
    rival: Mapping[str, Any]
    rival_name: str
    gain: float
    certain: bool


def headline(output: Output) -> tuple[str, Mapping[str, Any]] | None:
    """Name and entry of the metric that decides, None when it is not known."""
    metrics = output.scores.get("metrics", {})
    # The k of Hit@k is a matter of the recipe; it comes first.
    name = next(iter(metrics), "Hit") if output.kind == "items" else HEADLINES.get(output.kind, "MAE")
    metric = metrics.get(name)
    return None if metric is None or metric.get("value") is None else (name, metric)


def compare(output: Output) -> Comparison | None:
    """Model against the rival with the best headline metric; None without either."""
    found = headline(output)
    if found is None:
        return None
    name, model = found
    sign = -1 if model["better"] == "lower" else 1
    scored = {
        rival: scores["metrics"][name]
        for rival, scores in output.scores.get("rivals", {}).items()
        if scores.get("metrics", {}).get(name, {}).get("value") is not None
    }
    if not scored:
        return None
    best = max(scored, key=lambda rival: sign * scored[rival]["value"])
    against = scored[best]
    lead = sign * (model["value"] - against["value"])
    gain = lead / abs(against["value"]) if against["value"] else 0.0
    return Comparison(name, model, against, best, gain, _apart(model, against))


def _apart(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    if any(metric.get(side) is None for metric in (a, b) for side in ("lo", "hi")):
        return False
    return bool(a["hi"] < b["lo"] or b["hi"] < a["lo"])
