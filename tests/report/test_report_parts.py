import re
from importlib.resources import files

import pytest

from seqloom.report.charts import band, chart, line, rival_color
from seqloom.report.html import Html, element, join, table
from seqloom.report.numbers import interval, number, plural, with_unit
from seqloom.report.sections.data import gaps
from seqloom.report.sections.learning import thinned


def test_plain_text_is_escaped_and_markup_is_not() -> None:
    inner = element("b", "<i>", title='"x"')
    assert inner == '<b title="&quot;x&quot;">&lt;i&gt;</b>'
    assert element("p", inner, None, 3, class_="a", aria_label="b") == f'<p class="a" aria-label="b">{inner}3</p>'
    assert join(["&", Html("&amp;")]) == "&amp;&amp;"
    assert "<td>&lt;x&gt;</td>" in table(["h"], [["<x>"]])


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.2, "2.20"), (123.4, "123"), (12345.6, "12,346"), (0.0, "0"), (-0.0761, "-0.0761"), (None, "–")],
)
def test_numbers_have_three_significant_digits(value: float | None, text: str) -> None:
    assert number(value) == text


def test_units_intervals_and_counts() -> None:
    assert with_unit(2.0, "°C") == "2.00 °C"
    assert with_unit(2.0, "") == "2.00"
    assert interval({"lo": 1.0, "hi": 2.0}) == "1.00 to 2.00"
    assert interval({"lo": None, "hi": 2.0}) == ""
    assert [plural(1, "window"), plural(1200, "window"), plural(3, "series")] == [
        "1 window",
        "1,200 windows",
        "3 series",
    ]


def test_gaps_reach_from_neighbour_to_neighbour() -> None:
    assert gaps([1.0, None, None, 2.0]) == [(0, 3)]
    assert gaps([None, 1.0, None]) == [(0, 1), (1, 2)]
    assert gaps([1.0, 2.0]) == []
    assert gaps([None, None]) == [(0, 1)]


def test_a_long_line_marks_only_lone_points() -> None:
    y = [1.0, 2.0, None, 3.0, None] + [4.0] * 200
    assert line(range(len(y)), y, "n", "c")["marker"]["size"][:6] == [0, 0, 0, 5, 0, 0]


def test_names_cannot_become_markup_in_a_chart() -> None:
    assert line([1], [1], "<a_b>", "c")["name"] == "&lt;a b&gt;"
    assert "</script><" not in chart([], alt="x", layout={"title": "</script><script>"}).replace(
        "</script></figure>", ""
    )


def test_a_band_is_filled_between_its_edges() -> None:
    below, above = band([1], [0], [2], "80 % interval")
    assert (below["y"], above["y"], above["fill"]) == ([0], [2], "tonexty")


def test_thinning_keeps_first_and_last() -> None:
    rows = thinned(list(range(5000)))
    assert rows[0] == 0
    assert rows[-1] == 4999
    assert len(rows) <= 1001
    assert thinned([1, 2, 3]) == [1, 2, 3]


def test_five_rivals_have_colours_of_their_own_by_day_and_by_night() -> None:
    colors = [rival_color(place) for place in range(5)]
    style = files("seqloom.report").joinpath("style.css").read_text(encoding="utf-8")
    drawn = [re.findall(rf"{color.removeprefix('var(').removesuffix(')')}: (#\w+);", style) for color in colors]
    assert [len(found) for found in drawn] == [2] * 5
    assert all(len(set(side)) == 5 for side in zip(*drawn, strict=True))
