"""Lines between boxes on a grid: each takes the shortest way with the fewest turns and crossings."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_TURN = 4
_CROSSING = 6


class Point(NamedTuple):
    """A point of the grid, y downwards."""

    x: int
    y: int


class Port(NamedTuple):
    """Where a line leaves or reaches a box, and the direction it has there."""

    point: Point
    direction: Point


RIGHT, DOWN, LEFT, UP = Point(1, 0), Point(0, 1), Point(-1, 0), Point(0, -1)
_TURNS = {RIGHT: (UP, DOWN), LEFT: (UP, DOWN), UP: (LEFT, RIGHT), DOWN: (LEFT, RIGHT)}


class Router:
    """Finds ways for nets: all lines of one net carry one value and may meet; those of two nets only cross.

    Args:
        width, height: size of the grid; points on its edge belong to it.
    """

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._blocked: set[Point] = set()
        self._lines: dict[Point, dict[str, set[bool]]] = {}  # by point and net: runs flat, runs upright

    def block(self, left: int, top: int, right: int, bottom: int) -> None:
        """No line may touch this rectangle other than at a port."""
        self._blocked.update(Point(x, y) for x in range(left, right + 1) for y in range(top, bottom + 1))

    def lay(self, net: str, corners: Sequence[Point]) -> None:
        """Put a line through these corners, whoever is there already."""
        for a, b in itertools.pairwise(corners):
            flat = a.y == b.y
            for x in range(min(a.x, b.x), max(a.x, b.x) + 1):
                for y in range(min(a.y, b.y), max(a.y, b.y) + 1):
                    self._lines.setdefault(Point(x, y), {}).setdefault(net, set()).add(flat)

    def route(self, net: str, starts: Iterable[Port], ends: Iterable[Port]) -> list[Point] | None:
        """Corners of the cheapest way from the net, or a start, to an end; it is laid. None where there is no way."""
        goals = {end for end in ends if not self._strangers(end.point, net)}
        heap = [(0, begin.point, begin.direction) for begin in self._begins(net, starts)]
        heapq.heapify(heap)
        came: dict[Port, Port | None] = {Port(point, direction): None for _, point, direction in heap}
        costs = dict.fromkeys(came, 0)
        while heap:
            cost, point, direction = heapq.heappop(heap)
            here = Port(point, direction)
            if here in goals:
                corners = _corners(_trace(came, here))
                self.lay(net, corners)
                return corners
            for extra, there in self._moves(net, here, goals, fresh=came[here] is None):
                if cost + extra < costs.get(there, cost + extra + 1):
                    costs[there], came[there] = cost + extra, here
                    heapq.heappush(heap, (cost + extra, *there))
        return None

    def branches(self, net: str, point: Point) -> bool:
        """Whether a line that begins here leaves another line of its net; ask before it is laid."""
        return net in self._lines.get(point, {})

    def _strangers(self, point: Point, net: str) -> list[set[bool]]:
        return [ways for other, ways in self._lines.get(point, {}).items() if other != net]

    def _begins(self, net: str, starts: Iterable[Port]) -> list[Port]:
        ports = [start for start in starts if not self._strangers(start.point, net)]
        on_net = [point for point, nets in self._lines.items() if set(nets) == {net} and point not in self._blocked]
        return ports + [Port(point, direction) for point in on_net for direction in _TURNS]

    def _moves(self, net: str, here: Port, goals: set[Port], *, fresh: bool) -> Iterable[tuple[int, Port]]:
        """One step ahead, or after a turn; a crossing is left as it was entered."""
        crossing = bool(self._strangers(here.point, net))
        turns = () if fresh or crossing else _TURNS[here.direction]
        for direction in (here.direction, *turns):
            there = Port(Point(here.point.x + direction.x, here.point.y + direction.y), direction)
            if there not in goals and not self._is_free(there.point, net):
                continue
            strangers = self._strangers(there.point, net)
            if any(ways != {direction.y != 0} for ways in strangers):
                continue
            yield 1 + _TURN * (direction != here.direction) + _CROSSING * len(strangers), there

    def _is_free(self, point: Point, net: str) -> bool:
        inside = 0 <= point.x <= self._width and 0 <= point.y <= self._height
        return inside and point not in self._blocked and net not in self._lines.get(point, {})


def _trace(came: dict[Port, Port | None], last: Port) -> list[Point]:
    way = [last.point]
    step = came[last]
    while step is not None:
        way.append(step.point)
        step = came[step]
    return way[::-1]


def _corners(way: list[Point]) -> list[Point]:
    """The first point, the last one, and those where the direction changes."""
    inner = [
        b for a, b, c in zip(way, way[1:], way[2:], strict=False) if (b.x - a.x, b.y - a.y) != (c.x - b.x, c.y - b.y)
    ]
    return [way[0], *inner, way[-1]]
