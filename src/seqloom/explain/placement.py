"""Where each node of a cell's drawing stands: a row for its depth, a column for its place in the story.

The state path runs along the top row. Boxes stand below in the order with the fewest crossing lines; what they
feed stands above the rightmost of them; what reads the new state hangs from the top row.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from seqloom.explain.equations import Graph, Kind

# Orders of boxes that are tried; more boxes than this keep the order of their equations.
_MOST_BOXES = 6


@dataclass(frozen=True)
class Placement:
    """Column and row of each node that is no signal; row 0 is the lowest, columns count from the left.

    Attributes:
        state: the state whose path is the top row, "" where no state reaches its own successor.
        path: its nodes on the way, in order.
        cells: by node, (column, row).
    """

    state: str
    path: tuple[int, ...]
    cells: dict[int, tuple[int, int]]


def place(graph: Graph) -> Placement:
    """The placement with the fewest crossings and the shortest lines."""
    state, path = _state_path(graph)
    rows = _rows(graph, path)
    boxes = [k for k, node in enumerate(graph.nodes) if node.kind is Kind.BOX]
    orders = itertools.permutations(boxes) if len(boxes) <= _MOST_BOXES else iter([tuple(boxes)])
    found = [_columns(graph, path, rows, order) for order in orders if _is_ordered(graph, order)]
    best = min(found, key=lambda cells: _cost(graph, path, cells))
    return Placement(state, path, best)


def _state_path(graph: Graph) -> tuple[str, tuple[int, ...]]:
    """The state that reaches its successor through the fewest boxes, and the nodes on its way."""
    found = [
        (sum(graph.nodes[k].kind is Kind.BOX for k in path), len(path), name, path)
        for name, (first, last) in graph.states.items()
        for path in _paths(graph, first, last)
    ]
    if not found:
        return "", ()
    _, _, name, path = min(found)
    return name, path


def _paths(graph: Graph, first: int, last: int) -> Iterator[tuple[int, ...]]:
    if first == last:
        yield ()
        return
    for input in graph.nodes[last].inputs:
        for path in _paths(graph, first, input):
            yield (*path, last)


def _rows(graph: Graph, path: tuple[int, ...]) -> dict[int, int]:
    """Heights: boxes at the bottom, operations above what feeds them, the path on top, its readers under it."""
    hanging = _hanging(graph, path)
    rows: dict[int, int] = {}
    for k, node in enumerate(graph.nodes):
        if node.kind is not Kind.SIGNAL and k not in path and k not in hanging:
            below = [rows[input] for input in node.inputs if input in rows]
            rows[k] = max(below, default=-1 if node.kind is not Kind.BOX else 0) + (node.kind is not Kind.BOX)
    top = max([row + 1 for row in rows.values()] + [depth + 1 for depth in hanging.values()], default=0)
    rows.update(dict.fromkeys(path, top))
    rows.update({k: top - depth for k, depth in hanging.items()})
    return rows


def _hanging(graph: Graph, path: tuple[int, ...]) -> dict[int, int]:
    """What reads the path and is no box, with its depth below the path."""
    depth: dict[int, int] = {}
    for k, node in enumerate(graph.nodes):
        above = [depth.get(input, 0) for input in node.inputs if input in path or input in depth]
        if above and k not in path and node.kind is not Kind.BOX:
            depth[k] = max(above) + 1
    return depth


def _is_ordered(graph: Graph, order: tuple[int, ...]) -> bool:
    """Whether every box stands right of the boxes it depends on."""
    seen: set[int] = set()
    for box in order:
        if not _boxes_before(graph, box) <= seen:
            return False
        seen.add(box)
    return True


def _boxes_before(graph: Graph, node: int) -> set[int]:
    found: set[int] = set()
    for input in graph.nodes[node].inputs:
        found |= _boxes_before(graph, input) | ({input} if graph.nodes[input].kind is Kind.BOX else set())
    return found


def _columns(
    graph: Graph, path: tuple[int, ...], rows: dict[int, int], order: tuple[int, ...]
) -> dict[int, tuple[int, int]]:
    """(column, row) of each node, for one order of the boxes."""
    columns = _Columns(order, rows)
    for k, node in enumerate(graph.nodes):
        if k not in rows or k in columns.of:
            continue
        before = [columns.of[input] for input in node.inputs if input in columns.of]
        if k in path and path.index(k):
            before.append(columns.of[path[path.index(k) - 1]])
        reader = _reader_below(graph, path, k)
        if reader is not None and columns.can_wait(reader):
            columns.wait(k, reader)
        elif len(node.inputs) == 1 and k not in path:
            columns.insert(k, before)
        else:
            columns.stack(k, before)
    return columns.cells()


def _reader_below(graph: Graph, path: tuple[int, ...], node: int) -> int | None:
    """The operation under which a function of the state path hangs: its only reader, with another input."""
    readers = [k for k, reader in enumerate(graph.nodes) if node in reader.inputs]
    hangs = len(graph.nodes[node].inputs) == 1 and graph.nodes[node].inputs[0] in path and node not in path
    return readers[0] if hangs and len(readers) == 1 and len(graph.nodes[readers[0]].inputs) > 1 else None


class _Columns:
    """An ordered list of columns, to which nodes are added on top or in a new column between."""

    def __init__(self, boxes: tuple[int, ...], rows: dict[int, int]) -> None:
        self.rows = rows
        self.of: dict[int, float] = {box: float(k) for k, box in enumerate(boxes)}
        self._waiting: dict[int, int] = {}

    def can_wait(self, reader: int) -> bool:
        """Whether the reader has no column yet, and nobody else waits for it."""
        return reader not in self.of and reader not in self._waiting.values()

    def wait(self, node: int, reader: int) -> None:
        """Take the column of the reader, once that has one."""
        self._waiting[node] = reader

    def stack(self, node: int, before: list[float]) -> None:
        """Stand in the rightmost column of those before, or right of it where that place is taken."""
        column = max(before, default=0.0)
        wanted = [self.rows[node], *(self.rows[k] for k, reader in self._waiting.items() if reader == node)]
        taken = any(self.of[k] == column and self.rows[k] in wanted for k in self.of)
        if taken or not before:
            self.insert(node, before)
        else:
            self._settle(node, column)

    def insert(self, node: int, before: list[float]) -> None:
        """Stand in a new column, right of all those before."""
        column = max(before, default=-1.0)
        after = min((other for other in self.of.values() if other > column), default=column + 2)
        self._settle(node, (column + after) / 2)

    def _settle(self, node: int, column: float) -> None:
        self.of[node] = column
        for k in [k for k, reader in self._waiting.items() if reader == node]:
            del self._waiting[k]
            self._settle(k, column)

    def cells(self) -> dict[int, tuple[int, int]]:
        """(column, row) with columns counted from 0."""
        number = {column: k for k, column in enumerate(sorted(set(self.of.values())))}
        return {node: (number[column], self.rows[node]) for node, column in sorted(self.of.items())}


def _cost(graph: Graph, path: tuple[int, ...], cells: dict[int, tuple[int, int]]) -> float:
    lines = [(cells[input], cells[k]) for k in cells for input in graph.nodes[k].inputs if input in cells]
    crossings = sum(_cross(*a, *b) for a, b in itertools.combinations(lines, 2))
    length = sum(abs(a[0] - b[0]) for a, b in lines)
    return 10 * crossings + length + 2 * max((column for column, _ in cells.values()), default=0)


Point = tuple[int, int]


def _cross(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether the open segments ab and cd cross."""
    return _side(a, b, c) * _side(a, b, d) < 0 and _side(c, d, a) * _side(c, d, b) < 0


def _side(a: Point, b: Point, c: Point) -> int:
    turn = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    return (turn > 0) - (turn < 0)
