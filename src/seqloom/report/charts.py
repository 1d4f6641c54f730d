"""`Chart`: Plotly traces with a caption, and controls to choose between views of them.

Colours are names of the page's own variables (`var(--model)`), resolved by the page's script, so that a
chart follows the light or dark scheme.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

from seqloom.report.html import Html, element

Trace = dict[str, Any]
INK, MODEL, ACCENT = "var(--ink)", "var(--model)", "var(--accent)"
FEW = 120
RIVALS = tuple(f"var(--rival-{k})" for k in range(1, 6))  # of style.css


@dataclass(frozen=True)
class View:
    """What a chart shows at one setting of its controls.

    Attributes:
        traces: Plotly traces.
        group: entry of the drop-down list, used when a chart has several groups.
        label: what the slider stands at, used when a group has several views.
        layout: additions to the chart's layout, such as shapes.
    """

    traces: Sequence[Trace]
    group: str = ""
    label: str = ""
    layout: Mapping[str, Any] = field(default_factory=dict)


def chart(
    views: Sequence[View],
    *,
    alt: str,
    layout: Mapping[str, Any] | None = None,
    height: int = 340,
    square: bool = False,
) -> Html:
    """A chart drawn by the page's script.

    Args:
        views: at least one; several groups give a drop-down list, several views of a group a slider.
        alt: what the chart shows, for those who cannot see it.
        layout: Plotly layout shared by all views.
        height: in CSS pixels.
        square: kept about as wide as high on wide pages.
    """
    shown = {"views": [asdict(view) for view in views], "layout": dict(layout or {}), "height": height}
    # "<" would let text inside the data close the script element
    data = Html(json.dumps(shown, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"))
    return element(
        "figure",
        element("div", class_="controls"),
        element("div", class_="plot", role="img", aria_label=alt, style=f"height:{height}px"),
        element("script", data, type="application/json"),
        class_="chart square" if square else "chart",
    )


def label(text: object) -> str:
    """Text for a place where Plotly reads markup."""
    return escape(str(text), quote=False)


def line(x: Sequence[Any], y: Sequence[Any], name: str, color: str, **style: Any) -> Trace:
    """A line that breaks where y is None; a long one has markers only on lone points between gaps."""
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": list(x),
        "y": list(y),
        "name": label(name.replace("_", " ")),
        "line": {"color": color, "width": 2, **style},
        "marker": {"color": color, "size": 4 if len(y) <= FEW else _lone_sizes(y)},
        "connectgaps": False,
    }


def _lone_sizes(y: Sequence[Any]) -> list[int]:
    """Marker sizes: 5 where both neighbours are missing, else none."""
    around = [None, *y, None]
    return [5 * (before is None and after is None) for before, after in zip(around, around[2:], strict=False)]


def band(x: Sequence[Any], lo: Sequence[Any], hi: Sequence[Any], name: str) -> list[Trace]:
    """A shaded interval: an invisible lower edge and an upper edge filled down to it."""
    edge = {"type": "scatter", "mode": "lines", "x": list(x), "line": {"width": 0}, "legendgroup": name}
    below = {**edge, "y": list(lo), "showlegend": False, "hoverinfo": "skip"}
    above = {**edge, "y": list(hi), "name": name, "fill": "tonexty", "fillcolor": "var(--band)", "hoverinfo": "skip"}
    return [below, above]


def rival_color(place: int) -> str:
    """Colour of the rival in this place of the list."""
    return RIVALS[place % len(RIVALS)]
