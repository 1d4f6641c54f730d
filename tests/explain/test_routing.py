"""Lines find their way without running into boxes or along each other."""

from __future__ import annotations

import itertools

from seqloom.explain.routing import DOWN, RIGHT, UP, Point, Port, Router


def port(x: int, y: int, direction: Point) -> Port:
    return Port(Point(x, y), direction)


def covered(corners: list[Point]) -> set[tuple[int, int]]:
    return {
        (x, y)
        for a, b in itertools.pairwise(corners)
        for x in range(min(a.x, b.x), max(a.x, b.x) + 1)
        for y in range(min(a.y, b.y), max(a.y, b.y) + 1)
    }


def test_a_free_way_is_straight() -> None:
    assert Router(9, 9).route("a", [port(1, 4, RIGHT)], [port(8, 4, RIGHT)]) == [(1, 4), (8, 4)]


def test_a_way_has_the_fewest_turns() -> None:
    assert Router(9, 9).route("a", [port(1, 1, RIGHT)], [port(6, 5, DOWN)]) == [(1, 1), (6, 1), (6, 5)]


def test_a_box_is_gone_around() -> None:
    router = Router(9, 9)
    router.block(3, 3, 5, 9)
    corners = router.route("a", [port(1, 4, RIGHT)], [port(8, 4, RIGHT)])
    assert corners is not None
    assert not any(3 <= x <= 5 and 3 <= y <= 9 for x, y in covered(corners))


def test_another_line_is_crossed_but_never_shared() -> None:
    router = Router(9, 9)
    router.lay("a", [Point(2, 4), Point(7, 4)])
    corners = router.route("b", [port(3, 1, DOWN)], [port(6, 8, DOWN)])
    assert corners is not None
    assert len(covered(corners) & covered([Point(2, 4), Point(7, 4)])) == 1


def test_a_stretch_of_another_line_is_gone_around() -> None:
    router = Router(9, 9)
    router.lay("a", [Point(3, 4), Point(4, 4)])
    corners = router.route("b", [port(1, 4, RIGHT)], [port(8, 4, RIGHT)])
    assert corners is not None
    assert not covered(corners) & covered([Point(3, 4), Point(4, 4)])


def test_a_line_does_not_turn_on_another() -> None:
    router = Router(9, 9)
    router.lay("a", [Point(4, 0), Point(4, 2)])
    corners = router.route("b", [port(1, 2, RIGHT)], [port(4, 6, DOWN)])
    assert corners is not None
    assert (4, 2) not in corners


def test_a_crossing_is_avoided_where_that_is_free() -> None:
    for flat in ([Point(2, 3), Point(4, 3)], [Point(4, 3), Point(6, 3)]):
        router = Router(9, 9)
        router.lay("a", flat)
        corners = router.route("b", [port(1, 1, RIGHT)], [port(7, 5, RIGHT)])
        assert corners is not None
        assert not covered(corners) & covered(flat)


def test_a_port_is_used_by_one_line() -> None:
    router = Router(9, 9)
    router.lay("a", [Point(8, 3), Point(8, 4)])
    corners = router.route("b", [port(1, 4, RIGHT)], [port(8, 4, RIGHT), port(8, 6, RIGHT)])
    assert corners is not None
    assert corners[-1] == (8, 6)


def test_a_corner_of_another_line_is_not_crossed() -> None:
    router = Router(9, 9)
    router.lay("a", [Point(4, 0), Point(4, 4), Point(9, 4)])
    corners = router.route("b", [port(1, 4, RIGHT)], [port(4, 8, DOWN)])
    assert corners is not None
    assert (4, 4) not in covered(corners)


def test_a_line_branches_from_its_own_net() -> None:
    router = Router(9, 9)
    router.lay("a", [Point(0, 4), Point(9, 4)])
    corners = router.route("a", [port(0, 0, RIGHT)], [port(6, 1, UP)])
    assert corners == [(6, 4), (6, 1)]


def test_no_way_is_said() -> None:
    router = Router(9, 9)
    router.block(5, 0, 5, 9)
    assert router.route("a", [port(1, 4, RIGHT)], [port(8, 4, RIGHT)]) is None
    router = Router(9, 9)
    router.lay("a", [Point(0, 2), Point(9, 2)])
    router.lay("b", [Point(0, 3), Point(9, 3)])
    assert router.route("c", [port(2, 2, DOWN)], [port(2, 8, DOWN)]) is None
