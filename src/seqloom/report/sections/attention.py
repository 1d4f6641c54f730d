"""Attention: what some texts looked at while they were written, what was read across and what was written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seqloom.report.charts import INK, View, chart, label
from seqloom.report.html import Html, note, section
from seqloom.report.numbers import number
from seqloom.report.run_files import Output, RunFiles

SHADES = [[0, "var(--panel)"], [1, "var(--model)"]]
ROW = 22  # pixels of a token that was written

Example = Mapping[str, Any]


def attention(run: RunFiles, output: Output) -> Html | None:
    """A heat map to choose from for each example; nothing for what does not write, or before evaluation."""
    found = (run.attention or {}).get("outputs", {}).get(output.name, [])
    examples = [example for example in found if example["weights"] and example["weights"][0]]
    if not examples:
        return None
    assert run.attention is not None
    factor = run.attention["steps_per_core_step"]
    views = [_view(example, factor) for example in reversed(examples)]
    longest = max(len(example["tokens"]) for example in examples)
    picture = chart(
        views, alt="Attention over what was read at each token written", height=min(220 + ROW * longest, 900)
    )
    said = (
        "Each row is a token of the best text, each column a step that was read; the darker, the more of its attention "
        "the token paid to the step. Rows sum to 1."
    )
    return section(f"Attention{output.of}", picture, note(said))


def _view(example: Example, factor: int) -> View:
    weights: Sequence[Sequence[float]] = example["weights"]
    steps, tokens = len(weights[0]), example["tokens"]
    read = _columns(example, factor, steps)
    heat = {
        "type": "heatmap",
        "x": list(range(steps)),
        "y": list(range(len(tokens))),
        "z": weights,
        "zmin": 0,
        "zmax": 1,
        "text": [[f"{label(token)} ← {label(word)}" for word in read] for token in tokens],
        "hovertemplate": "%{text}: %{z}<extra></extra>",
        "colorscale": SHADES,
        "colorbar": {"thickness": 12, "len": 0.7},
    }
    plain = {"showgrid": False, "zeroline": False, "tickfont": {"color": INK}}
    layout = {
        "xaxis": {"title": {"text": "read"}, "side": "top", "tickangle": -60, **_ticks(read), **plain},
        "yaxis": {"title": {"text": "written"}, "autorange": "reversed", **_ticks(tokens), **plain},
    }
    return View([heat], label=f"example {example['id']}, score {number(example['score'])}", layout=layout)


def _columns(example: Example, factor: int, steps: int) -> list[str]:
    """What stands over each column: the words of the first input that has any, else numbers of steps."""
    words = next((given["words"] for given in example["inputs"] if given.get("words")), None)
    if words is None:
        return [str(example["first"] + k) for k in range(steps)]
    return [" ".join(words[k * factor : (k + 1) * factor]) for k in range(steps)]


def _ticks(names: Sequence[str]) -> dict[str, Any]:
    return {"tickmode": "array", "tickvals": list(range(len(names))), "ticktext": [label(name) for name in names]}
