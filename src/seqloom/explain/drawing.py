"""A wired cell as an SVG that reads well on light and on dark pages."""

from __future__ import annotations

from xml.sax.saxutils import escape

from seqloom.explain.equations import Graph, Kind, Node, read_equations
from seqloom.explain.routing import Point
from seqloom.explain.wiring import Line, Shape, wire

_UNIT = 14  # pixels between two points of the grid
_BEND = 7  # radius of a corner, in pixels

_STYLE = """
.seqloom-cell{--ground:#ffffff;--ink:#24292f;--soft:#6b7280;--main:#d97706;--plain:#eef0f3;--sigmoid:#d6e6fb;
--sigmoid-edge:#2f6fb5;--tanh:#fbdcd5;--tanh-edge:#b5432f;--other:#dcf1de;--other-edge:#2f7d3b;
font-family:Georgia,"Times New Roman",serif}
@media (prefers-color-scheme:dark){.seqloom-cell{--ground:#16191d;--ink:#e6e8eb;--soft:#9aa3ad;--main:#f5a742;
--plain:#2a2f36;--sigmoid:#1d3a5c;--sigmoid-edge:#7db4f0;--tanh:#5a2a22;--tanh-edge:#f09a88;--other:#1f4526;
--other-edge:#8fd19a}}
.seqloom-cell text{fill:var(--ink);text-anchor:middle;dominant-baseline:central}
.seqloom-cell .letter,.seqloom-cell .end text{font-style:italic}
.seqloom-cell .function,.seqloom-cell .caption{font-family:system-ui,sans-serif}
.seqloom-cell .caption{fill:var(--soft);font-size:13px;text-anchor:start}
.seqloom-cell .wire{fill:none;stroke:var(--ink);stroke-width:1.6}
.seqloom-cell .main{stroke:var(--main);stroke-width:4}
.seqloom-cell .dot{fill:var(--ink)}
.seqloom-cell .shape{fill:var(--plain);stroke:var(--ink);stroke-width:1.5}
.seqloom-cell .sigmoid .shape{fill:var(--sigmoid);stroke:var(--sigmoid-edge)}
.seqloom-cell .tanh .shape{fill:var(--tanh);stroke:var(--tanh-edge)}
.seqloom-cell .other .shape{fill:var(--other);stroke:var(--other-edge)}
.seqloom-cell .end .shape{fill:var(--ground);stroke:var(--soft)}
.seqloom-cell .head{fill:var(--ink)}
.seqloom-cell .main-head{fill:var(--main)}
"""


def draw_equations(name: str, equations: tuple[str, ...], output: str) -> str:
    """The SVG of some equations.

    Raises:
        UsageError: an equation is no plain arithmetic.
    """
    graph = read_equations(equations, output)
    sketch = wire(graph)
    width, height = max(sketch.width * _UNIT, 500), sketch.height * _UNIT + 26
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="seqloom-cell" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img">',
        f"<title>{escape(name)} cell</title>",
        f"<desc>{escape('; '.join(equations))}</desc>",
        f"<style>{_STYLE}</style>",
        f"<defs>{_head(name, 'head', 9)}{_head(name, 'main-head', 14)}</defs>",
        f'<rect width="{width}" height="{height}" fill="var(--ground)"/>',
        *(_line(line, name) for line in sorted(sketch.lines, key=lambda line: line.main)),
        *(_dot(line) for line in sketch.lines if line.branches),
        *(_shape(shape, graph) for shape in sketch.shapes.values()),
        f'<text class="caption" x="14" y="{2 * _UNIT}" style="font-size:20px">{escape(name)}</text>',
        f'<text class="caption" x="14" y="{height - 16}">{escape(_caption(sketch.placement.state))}</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _caption(state: str) -> str:
    path = f"thick line: the path of {state} from step to step;  " if state else ""
    return f"{path}circles: element by element"


def _head(name: str, kind: str, size: int) -> str:
    return (
        f'<marker id="{escape(name)}-{kind}" markerUnits="userSpaceOnUse" markerWidth="{size}" markerHeight="{size}" '
        f'refX="{size}" refY="{size / 2:g}" orient="auto"><path class="{kind}" d="M0 0L{size} {size / 2:g}L0 {size}z"/>'
        "</marker>"
    )


def _line(line: Line, name: str) -> str:
    kind, head = ("wire main", "main-head") if line.main else ("wire", "head")
    ends = f' marker-end="url(#{escape(name)}-{head})"'
    return f'<path class="{kind}" d="{_way(line.corners)}"{ends}/>'


def _way(corners: list[Point]) -> str:
    """A path with rounded corners."""
    points = [(x * _UNIT, y * _UNIT) for x, y in corners]
    way = f"M{points[0][0]} {points[0][1]}"
    for a, b, c in zip(points, points[1:], points[2:], strict=False):
        (ax, ay), (cx, cy) = _towards(b, a), _towards(b, c)
        way += f"L{ax} {ay}Q{b[0]} {b[1]} {cx} {cy}"
    return way + f"L{points[-1][0]} {points[-1][1]}"


def _towards(point: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    """The point `_BEND` pixels away in the direction of another on the same row or column."""
    x, y = (min(max(o - p, -_BEND), _BEND) for p, o in zip(point, other, strict=True))
    return point[0] + x, point[1] + y


def _dot(line: Line) -> str:
    x, y = line.corners[0]
    return f'<circle class="dot" cx="{x * _UNIT}" cy="{y * _UNIT}" r="3.5"/>'


def _shape(shape: Shape, graph: Graph) -> str:
    """A box with its text."""
    x, y = shape.center.x * _UNIT, shape.center.y * _UNIT
    width, height = 2 * shape.half_width * _UNIT, 2 * shape.half_height * _UNIT
    if isinstance(shape.node, str):
        frame = _rect(x, y, width, height, height // 2)
        return f'<g class="end" data-node="{shape.node}">{frame}{_text(x, y, _end_label(shape.node, graph), 17)}</g>'
    return _node(x, y, width, height, graph.nodes[shape.node])


def _node(x: int, y: int, width: int, height: int, node: Node) -> str:
    if node.kind is Kind.BOX:
        inside = _rect(x, y, width, height, 10) + _box_text(x, y, node)
        return f'<g class="gate {_colour(node)}"{_gate_name(node)}>{inside}</g>'
    if width > height:
        pill = _rect(x, y, width, height, height // 2)
        colour = _colour(node) if node.kind is Kind.FUNCTION else "plain"
        return f'<g class="node {colour}">{pill}{_text(x, y, node.label, 15, "function")}</g>'
    circle = f'<circle class="shape" cx="{x}" cy="{y}" r="{_UNIT}"/>'
    sign = node.label.replace(" ", "")
    return f'<g class="node plain">{circle}{_text(x, y, sign, 20 if len(sign) == 1 else 16, "sign")}</g>'


def _gate_name(node: Node) -> str:
    """Of a gate: what an equation of its own names, not a map inside one, which goes by its weights, nor a norm."""
    is_gate = node.letter and "_" not in node.letter and node.label != "norm"
    return f' data-gate="{escape(node.letter)}"' if is_gate else ""


def _rect(x: int, y: int, width: int, height: int, radius: int) -> str:
    place = f'x="{x - width // 2}" y="{y - height // 2}" width="{width}" height="{height}"'
    return f'<rect class="shape" {place} rx="{radius}"/>'


def _box_text(x: int, y: int, node: Node) -> str:
    function = _text(x, y + 12 if node.letter else y, node.label, 14, "function")
    return (_text(x, y - 10, node.letter, 22, "letter") if node.letter else "") + function


def _colour(node: Node) -> str:
    return node.label if node.label in ("sigmoid", "tanh") else "plain" if node.label == "linear" else "other"


def _end_label(end: str, graph: Graph) -> str:
    """`h_{t-1}` for a state that enters, `h_t` for one that leaves."""
    if end == "output":
        names = [name for name, (_, following) in graph.states.items() if following == graph.output]
        return f"{names[0]}_t" if names else f"{graph.nodes[graph.output].letter or 'y'}_t"
    name, _, way = end.rpartition("_")
    return f"{name}_t−1" if way == "in" and name not in graph.inputs else f"{name}_t"


def _text(x: int, y: int, text: str, size: int, kind: str = "letter") -> str:
    """Text with a subscript after the first underscore; long text is set smaller to stay inside its box."""
    base, _, below = text.partition("_")
    size = min(size, 120 // max(len(text), 1))
    sub = f'<tspan font-size="{round(size * 0.7)}" dy="{round(size * 0.3)}">{escape(below)}</tspan>' if below else ""
    return f'<text class="{kind}" x="{x}" y="{y}" font-size="{size}">{escape(base)}{sub}</text>'
