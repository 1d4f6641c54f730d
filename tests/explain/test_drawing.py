"""Drawings of cells: legible, complete, and made from the equations alone."""

from __future__ import annotations

import functools
import itertools
import xml.etree.ElementTree as ET

import pytest

from seqloom.cells.cell import Cell, GatedCell
from seqloom.errors import UsageError
from seqloom.explain.cell import draw_cell
from seqloom.explain.drawing import draw_equations
from seqloom.explain.equations import Kind, read_equations
from seqloom.explain.wiring import Sketch, wire
from seqloom.lookup import find, names

SVG = "{http://www.w3.org/2000/svg}"
PEEPHOLE = (
    "i = sigmoid(W_i @ x + U_i @ h + p_i * c)",
    "f = sigmoid(W_f @ x + U_f @ h + p_f * c)",
    "g = tanh(W_g @ x + U_g @ h)",
    "c_next = f * c + i * g",
    "o = sigmoid(W_o @ x + U_o @ h + p_o * c_next)",
    "h_next = o * tanh(c_next)",
)
ORIGINAL_GRU = (
    "r = sigmoid(W_r @ x + U_r @ h)",
    "z = sigmoid(W_z @ x + U_z @ h)",
    "n = tanh(W_n @ x + U_n @ (r * h))",
    "h_next = (1 - z) * n + z * h",
)
SRU = (
    "u = W @ x",
    "f = sigmoid(W_f @ x + v_f * c + b_f)",
    "r = sigmoid(W_r @ x + v_r * c + b_r)",
    "c_next = f * c + (1 - f) * u",
    "h = r * c_next + (1 - r) * x",
)
MINIMAL = (
    "f = sigmoid(W_f @ x)",
    "i = sigmoid(W_i @ x)",
    "n = W_h @ x + b",
    "h_next = f / (f + i) * h + i / (f + i) * n",
)
LINEAR = ("h_next = exp(-exp(a)) * h + B @ x", "y = C @ h_next + D * x")
TWO_FUNCTIONS = ("c_next = c + W @ x", "h_next = tanh(c_next) * relu(c_next)")
FORGETFUL = ("h_next = tanh(W @ x)",)
KNOWN = {name: find("cells", name, Cell) for name in names("cells")}
DRAWN = {name: (kind.equations, kind.output) for name, kind in KNOWN.items()} | {
    "peephole": (PEEPHOLE, "h_next"),
    "original-gru": (ORIGINAL_GRU, "h_next"),
    "sru": (SRU, "h"),
    "minimal": (MINIMAL, "h_next"),
    "linear": (LINEAR, "y"),
    "two-functions": (TWO_FUNCTIONS, "h_next"),
    "forgetful": (FORGETFUL, "h_next"),
}
every_drawing = pytest.mark.parametrize(("equations", "output"), DRAWN.values(), ids=DRAWN.keys())


@functools.cache
def sketch_of(equations: tuple[str, ...], output: str) -> Sketch:
    return wire(read_equations(equations, output))


@functools.cache
def drawing_of(equations: tuple[str, ...], output: str) -> str:
    return draw_equations("Cell", equations, output)


def boxes(svg: str) -> list[tuple[float, float, float, float]]:
    """Left, top, right, bottom of each box and circle."""
    found = []
    for shape in ET.fromstring(svg).iter():
        if shape.get("class") != "shape":
            continue
        if shape.tag == f"{SVG}circle":
            x, y, r = (float(shape.attrib[key]) for key in ("cx", "cy", "r"))
            found.append((x - r, y - r, x + r, y + r))
        else:
            x, y, w, h = (float(shape.attrib[key]) for key in ("x", "y", "width", "height"))
            found.append((x, y, x + w, y + h))
    return found


@every_drawing
def test_boxes_are_inside_and_apart(equations: tuple[str, ...], output: str) -> None:
    svg = drawing_of(equations, output)
    root = ET.fromstring(svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    graph = read_equations(equations, output)
    found = boxes(svg)
    inner = sum(node.kind is not Kind.SIGNAL for node in graph.nodes)
    assert len(found) == inner + 2 * len(graph.states) + len(graph.inputs) + 1  # states in and out, x, output
    for left, top, right, bottom in found:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
    for a, b in itertools.combinations(found, 2):
        assert a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1], (a, b)


@every_drawing
def test_lines_touch_boxes_at_their_ends_only(equations: tuple[str, ...], output: str) -> None:
    sketch = sketch_of(equations, output)
    areas = [(s.center, s.half_width, s.half_height) for s in sketch.shapes.values()]
    for line in sketch.lines:
        points = {
            (x, y)
            for a, b in itertools.pairwise(line.corners)
            for x in range(min(a.x, b.x), max(a.x, b.x) + 1)
            for y in range(min(a.y, b.y), max(a.y, b.y) + 1)
        }
        inner = points - {line.corners[0], line.corners[-1]}
        for center, w, h in areas:
            assert not any(abs(x - center.x) <= w and abs(y - center.y) <= h for x, y in inner)


@every_drawing
def test_every_value_reaches_its_readers(equations: tuple[str, ...], output: str) -> None:
    """One arrow for each input of each node, each new state and the output; all at points of their own."""
    graph = read_equations(equations, output)
    sketch = sketch_of(equations, output)
    arrows = [line.corners[-1] for line in sketch.lines]
    assert len(arrows) == len(set(arrows)) == sum(len(n.inputs) for n in graph.nodes) + len(graph.states) + 1


@every_drawing
def test_two_values_never_share_a_stretch_of_line(equations: tuple[str, ...], output: str) -> None:
    owner: dict[frozenset[tuple[int, int]], int] = {}
    sketch = sketch_of(equations, output)
    groups: list[set[tuple[int, int]]] = []
    for line in sketch.lines:
        steps = [
            (x, y)
            for a, b in itertools.pairwise(line.corners)
            for x in range(a.x, b.x + (1 if b.x >= a.x else -1), 1 if b.x >= a.x else -1)
            for y in range(a.y, b.y + (1 if b.y >= a.y else -1), 1 if b.y >= a.y else -1)
        ]
        found = next((k for k, g in enumerate(groups) if line.branches and line.corners[0] in g), None)
        if found is None:
            same_port = [k for k, g in enumerate(groups) if line.corners[0] in g]
            found = same_port[0] if same_port else len(groups)
            if found == len(groups):
                groups.append(set())
        groups[found] |= set(steps)
        for a, b in itertools.pairwise(dict.fromkeys(steps)):
            assert owner.setdefault(frozenset((a, b)), found) == found


@pytest.mark.parametrize("kind", [kind for kind in KNOWN.values() if issubclass(kind, GatedCell)])
def test_each_gate_is_drawn_once(kind: type[GatedCell]) -> None:
    root = ET.fromstring(draw_cell(kind))
    letters = [group.get("data-gate") for group in root.iter(f"{SVG}g") if group.get("data-gate")]
    assert sorted(letter for letter in letters if letter in kind.gates) == sorted(kind.gates)


def test_gates_carry_letter_function_and_colour() -> None:
    root = ET.fromstring(draw_cell(KNOWN["lstm"]))
    found = {
        group.attrib["data-gate"]: (group.attrib["class"], ["".join(t.itertext()) for t in group.iter(f"{SVG}text")])
        for group in root.iter(f"{SVG}g")
        if group.get("data-gate")
    }
    assert found["f"] == ("gate sigmoid", ["f", "sigmoid"])
    assert found["g"] == ("gate tanh", ["g", "tanh"])


def test_gru_shows_one_minus_z() -> None:
    assert ">1−</text>" in draw_cell(KNOWN["gru"])


@pytest.mark.parametrize(("name", "state"), [("lstm", "c"), ("gru", "h"), ("rnn", "h")])
def test_state_path_is_one_straight_line_on_top(name: str, state: str) -> None:
    sketch = sketch_of(*DRAWN[name])
    assert sketch.placement.state == state
    heights = {corner.y for line in sketch.lines if line.main for corner in line.corners}
    assert len(heights) == 1
    inner = [s.center.y for k, s in sketch.shapes.items() if isinstance(k, int)]
    assert heights == {min(inner)}
    assert sketch.shapes[f"{state}_in"].center.x < sketch.shapes[f"{state}_out"].center.x


@pytest.mark.parametrize(("name", "order"), [("lstm", "f i g o"), ("gru", "z r W_hn n"), ("rnn", "h")])
def test_boxes_stand_in_the_order_without_crossings(name: str, order: str) -> None:
    sketch = sketch_of(*DRAWN[name])
    boxes = {k: node for k, node in enumerate(sketch.graph.nodes) if node.kind is Kind.BOX}
    assert [boxes[k].letter for k in sorted(boxes, key=lambda k: sketch.placement.cells[k][0])] == order.split()


@every_drawing
def test_drawing_twice_gives_the_same_bytes(equations: tuple[str, ...], output: str) -> None:
    assert draw_equations("Cell", equations, output) == drawing_of(equations, output)


def test_title_description_and_dark_colours() -> None:
    svg = draw_equations("A<B", ("h_next = h",), "h_next")
    root = ET.fromstring(svg)
    assert root.findtext(f"{SVG}title") == "A<B cell"
    assert root.findtext(f"{SVG}desc") == "h_next = h"
    assert "prefers-color-scheme:dark" in svg


def test_weights_melt_into_the_box_that_takes_them() -> None:
    graph = read_equations(*DRAWN["gru"])
    drawn = [(n.kind, n.label, n.letter, n.inputs) for n in graph.nodes]
    x, h = 0, 1
    assert drawn[2:7] == [
        (Kind.BOX, "sigmoid", "r", (x, h)),
        (Kind.BOX, "sigmoid", "z", (x, h)),
        (Kind.BOX, "linear", "W_hn", (h,)),
        (Kind.OPERATION, "×", "", (2, 4)),
        (Kind.BOX, "tanh", "n", (x, 5)),
    ]


def test_what_is_computed_twice_is_drawn_once_but_boxes_are_not() -> None:
    once = read_equations(MINIMAL, "h_next")
    assert [node.inputs for node in once.nodes if node.label == "+"].count((2, 3)) == 1
    twins = read_equations(("a = tanh(W @ x)", "b = tanh(U @ x)", "h_next = a * b * h"), "h_next")
    assert [node.letter for node in twins.nodes if node.kind is Kind.BOX] == ["a", "b"]


@pytest.mark.parametrize(
    ("equations", "message"),
    [
        (("h_next = h if x else h",), "cannot draw 'h if x else h'"),
        (("h_next = x % h",), "cannot draw 'x % h'; expected one of"),
        (("h_next += x",), "gives no single name"),
        (("h_next = ",), "is no Python expression"),
        (("k = x",), "output 'h_next' is given by no equation"),
    ],
)
def test_what_cannot_be_drawn_is_said(equations: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        draw_equations("Cell", equations, "h_next")
