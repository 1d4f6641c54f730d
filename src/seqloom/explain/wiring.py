"""A cell's graph as boxes and lines on a grid: placement first, then the state path, the buses and the rest."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from seqloom.errors import SeqloomError
from seqloom.explain.equations import Graph, Kind, Node
from seqloom.explain.placement import Placement, place
from seqloom.explain.routing import DOWN, LEFT, RIGHT, UP, Point, Port, Router

_LEFT_END, _DESCENT, _FIRST_COLUMN = 3, 7, 10  # where states enter, turn down to their bus, and columns begin
_TOP_ROW = 9
_LANE = 3  # between two buses
_WIDENINGS = range(0, 12, 2)  # tried one after another until every line finds a way


@dataclass(frozen=True)
class Shape:
    """A box: `node` is its place in the graph, or a name where it stands for what enters or leaves."""

    node: int | str
    center: Point
    half_width: int
    half_height: int

    def port(self, direction: Point, shift: int = 0) -> Port:
        """Where a line leaves in some direction; `shift` moves it along that side."""
        x = self.center.x + direction.x * self.half_width + (shift if direction.y else 0)
        y = self.center.y + direction.y * self.half_height + (shift if direction.x else 0)
        return Port(Point(x, y), direction)

    def entry(self, side: Point, shift: int = 0) -> Port:
        """The port on a side, for a line that comes in there."""
        return Port(self.port(side, shift).point, Point(-side.x, -side.y))


@dataclass(frozen=True)
class Line:
    """Corners of a line; `branches` where it leaves another one, `main` on the state path."""

    corners: list[Point]
    branches: bool
    main: bool


@dataclass
class Sketch:
    """Everything that a drawing shows, on a grid of `width` and `height` points."""

    graph: Graph
    placement: Placement
    shapes: dict[int | str, Shape] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    width: int = 0
    height: int = 0


def wire(graph: Graph) -> Sketch:
    """The sketch of a graph.

    Raises:
        SeqloomError: its lines find no way, however far apart the boxes are.
    """
    placement = place(graph)
    for extra in _WIDENINGS:
        sketch = _Wiring(graph, placement, extra).sketch()
        if sketch is not None:
            return sketch
    raise SeqloomError(f"{len(graph.nodes)} values are too many for one drawing; split the equations")


def half_size(node: Node) -> tuple[int, int]:
    """Half width and half height, in points of the grid."""
    if node.kind is Kind.BOX:
        return 3, 2
    return (1, 1) if node.kind is Kind.OPERATION and len(node.label) <= 3 else (2, 1)


class _Wiring:
    """One attempt, with columns and rows `extra` points further apart than they need be."""

    def __init__(self, graph: Graph, placement: Placement, extra: int) -> None:
        self.graph, self.placement = graph, placement
        self.made = Sketch(graph, placement)
        self.shapes = self.made.shapes
        self._place_nodes(extra)
        self._lanes = self._place_lanes()
        self._place_ends()
        self.made.width = max(s.center.x + s.half_width for s in self.shapes.values()) + 1
        self.made.height = max([s.center.y + s.half_height for s in self.shapes.values()]) + 2
        self.router = Router(self.made.width, self.made.height)
        for s in self.shapes.values():
            x, y = s.center
            self.router.block(x - s.half_width, y - s.half_height, x + s.half_width, y + s.half_height)

    def sketch(self) -> Sketch | None:
        """Boxes and lines, or None where a line finds no way."""
        found = self._main_path() and self._signals() and self._inner() and self._outer()
        return self.made if found else None

    def _place_nodes(self, extra: int) -> None:
        cells = self.placement.cells
        widths: dict[int, int] = {}
        for k, (column, _) in cells.items():
            widths[column] = max(widths.get(column, 0), 2 * half_size(self.graph.nodes[k])[0] + 4 + extra)
        starts = {column: _FIRST_COLUMN + sum(widths[c] for c in widths if c < column) for column in widths}
        top = max((row for _, row in cells.values()), default=0)
        for k, (column, row) in cells.items():
            center = Point(starts[column] + widths[column] // 2, _TOP_ROW + (top - row) * (6 + extra))
            self.shapes[k] = Shape(k, center, *half_size(self.graph.nodes[k]))
        self._right_end = _FIRST_COLUMN + sum(widths.values()) + 8
        self._floor = max((s.center.y + s.half_height for s in self.shapes.values()), default=_TOP_ROW)

    def _readers(self, signal: int) -> list[int]:
        """The nodes to which a signal's bus runs, from left to right; the first of a state's path is none."""
        first = self.placement.path[:1] if self._signal(self.placement.state) == signal else ()
        found = [k for k, node in enumerate(self.graph.nodes) if signal in node.inputs and k not in first]
        return sorted(found, key=lambda k: self.shapes[k].center)

    def _signal(self, name: str) -> int:
        return next((k for k, n in enumerate(self.graph.nodes) if n.kind is Kind.SIGNAL and n.label == name), -1)

    def _place_lanes(self) -> dict[int, int]:
        """The height of each signal's bus, by signal; that of x is the lowest."""
        signals = [self._signal(name) for name in (*self.graph.states, *self.graph.inputs[1:], "x")]
        used = [k for k in signals if self._readers(k)]
        return {k: self._floor + _LANE * (1 + place) for place, k in enumerate(used)}

    def _place_ends(self) -> None:
        bottom = max([self._floor, *self._lanes.values()])
        top = min([s.center.y for s in self.shapes.values()], default=_TOP_ROW)
        taken = []
        for name, (state, following) in self.graph.states.items():
            main = name == self.placement.state
            y = top if main else self._lanes.get(state, bottom + _LANE)
            self.shapes[f"{name}_in"] = Shape(f"{name}_in", Point(_LEFT_END, y), 2, 1)
            y = top if main or following not in self.shapes else self.shapes[following].center.y
            while y in taken or (y == top and not main):
                y += _LANE
            taken.append(y)
            self.shapes[f"{name}_out"] = Shape(f"{name}_out", Point(self._right_end, y), 2, 1)
        for name in self.graph.inputs[1:]:
            y = max([*taken, self._lanes[self._signal(name)] - _LANE]) + _LANE
            self.shapes[f"{name}_in"] = Shape(f"{name}_in", Point(_LEFT_END, y), 2, 1)
        self.shapes["output"] = Shape("output", Point(self._right_end - 5, top - 6), 2, 1)
        readers = self._readers(self._signal("x"))
        x = self._taps(readers[0])[self._signal("x")].point.x if readers else _FIRST_COLUMN
        self.shapes["x_in"] = Shape("x_in", Point(x, bottom + 4), 2, 1)

    def _taps(self, node: int) -> dict[int, Port]:
        """Where signals enter a node from below, x leftmost, spread over the width of a box."""
        signals = [k for k in sorted(self.graph.nodes[node].inputs) if self.graph.nodes[k].kind is Kind.SIGNAL]
        on_bus = [k for k in signals if node in self._readers(k)]
        spread = 1 if self.graph.nodes[node].kind is Kind.BOX else 0
        shape = self.shapes[node]
        return {k: shape.entry(DOWN, spread * (2 * i - len(on_bus) + 1)) for i, k in enumerate(on_bus)}

    def _route(self, net: str, starts: list[Port], ends: list[Port], *, main: bool = False) -> bool:
        corners = self.router.route(net, starts, ends)
        if corners is None:
            return False
        at_port = any(corners[0] == start.point for start in starts)
        self.made.lines.append(Line(corners, not at_port, main))
        return True

    def _main_path(self) -> bool:
        """The straight line on top, from the state that enters to the one that leaves."""
        name = self.placement.state
        if not name:
            return True
        stops: list[int | str] = [f"{name}_in", *self.placement.path, f"{name}_out"]
        for a, b in itertools.pairwise(stops):
            net = self._net(self._signal(name) if isinstance(a, str) else a)
            if not self._route(net, [self.shapes[a].port(RIGHT)], [self.shapes[b].entry(LEFT)], main=True):
                return False
        return True

    def _net(self, node: int) -> str:
        return f"value {node}"

    def _signals(self) -> bool:
        """Each signal's bus with its taps."""
        for signal, lane in self._lanes.items():
            name, net = self.graph.nodes[signal].label, self._net(signal)
            end = self.shapes[f"{name}_in"]
            if name == "x":
                way = [end.port(UP).point]
            elif name == self.placement.state:
                way = [Point(_DESCENT, end.center.y), Point(_DESCENT, lane)]
            else:
                start = end.port(RIGHT).point
                way = [start, Point(start.x + 1, start.y)]  # clear of the box, so that any line can begin there
            if not self._bus(net, signal, [*way, Point(way[-1].x, lane)], branches=name == self.placement.state):
                return False
        return True

    def _bus(self, net: str, signal: int, way: list[Point], *, branches: bool) -> bool:
        """The bus begins with `way`; it is carried on to each reader, and a tap goes up."""
        for reader in self._readers(signal):
            tap = self._taps(reader)[signal]
            if not self._is_clear(reader, tap):
                self.router.lay(net, way)
                if not self._route(net, [], [tap, *self._free_sides(reader)]):
                    return False
                continue
            corner = Point(max(way[-1].x, tap.point.x), way[-1].y)
            line = Line(_without_stops([*way, corner, tap.point]), branches, False)
            self.router.lay(net, line.corners)
            self.made.lines.append(line)
            way, branches = [corner], True
        return True

    def _is_clear(self, reader: int, tap: Port) -> bool:
        """Whether nothing stands below a reader's tap."""
        return not any(
            abs(s.center.x - tap.point.x) <= s.half_width and s.center.y > self.shapes[reader].center.y
            for k, s in self.shapes.items()
            if isinstance(k, int) and k != reader
        )

    def _free_sides(self, node: int) -> list[Port]:
        shape = self.shapes[node]
        sides = [UP] if node in self.placement.path else [LEFT, UP]
        if self.graph.nodes[node].kind is not Kind.BOX:
            sides.append(DOWN)
        return [shape.entry(side) for side in sides]

    def _inner(self) -> bool:
        """Lines from node to node that are not on the state path."""
        path = self.placement.path
        steps = set(itertools.pairwise(path))
        edges = [(input, k) for k, node in enumerate(self.graph.nodes) for input in node.inputs if input in self.shapes]
        return all(
            self._route(self._net(a), self._exits(a), self._free_sides(b)) for a, b in edges if (a, b) not in steps
        )

    def _exits(self, node: int) -> list[Port]:
        shape = self.shapes[node]
        sides = [RIGHT] if node in self.placement.path else [UP, RIGHT]
        if self.graph.nodes[node].kind is not Kind.BOX and node not in self.placement.path:
            sides.append(DOWN)
        return [shape.port(side) for side in sides]

    def _outer(self) -> bool:
        """Lines to the states that leave, and to the output."""
        ends = [
            (following, f"{name}_out")
            for name, (_, following) in self.graph.states.items()
            if name != self.placement.state
        ]
        ends.append((self.graph.output, "output"))
        return all(
            self._route(self._net(a), self._leaving(a), [self.shapes[b].entry(DOWN if b == "output" else LEFT)])
            for a, b in ends
        )

    def _leaving(self, node: int) -> list[Port]:
        """Exits of a node; a signal that leaves as it came does so from its own line."""
        if node in self.shapes:
            return self._exits(node)
        return [self.shapes[f"{self.graph.nodes[node].label}_in"].port(RIGHT)]


def _without_stops(corners: list[Point]) -> list[Point]:
    """Corners without repeats."""
    return [point for k, point in enumerate(corners) if not k or point != corners[k - 1]]
