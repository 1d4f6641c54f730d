"""`Html` and `element`: markup that cannot be forgotten to escape.

Anything that is not already `Html` is escaped when it becomes part of an element.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

VOID = frozenset({"meta", "br"})


class Html(str):
    """Text that is markup and is not escaped again."""

    __slots__ = ()


def element(tag: str, *children: object, **attributes: str) -> Html:
    """One element; `class_` stands for `class`, `aria_label` for `aria-label`."""
    given = "".join(f' {name.rstrip("_").replace("_", "-")}="{escape(value)}"' for name, value in attributes.items())
    if tag in VOID:
        return Html(f"<{tag}{given}>")
    return Html(f"<{tag}{given}>{join(children)}</{tag}>")


def join(children: Iterable[object]) -> Html:
    """Children one after the other, escaped where they are plain text; None is nothing."""
    return Html("".join(_markup(child) for child in children if child is not None))


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> Html:
    """A table that scrolls inside its own box when the page is narrow."""
    top = element("thead", element("tr", *(element("th", cell) for cell in head)))
    body = element("tbody", *(element("tr", *(element("td", cell) for cell in row)) for row in rows))
    return element("div", element("table", top, body), class_="scroll", tabindex="0")


def paragraph(*children: object) -> Html:
    """A paragraph of text."""
    return element("p", *children)


def note(*children: object) -> Html:
    """A quieter paragraph: what is missing, limited or assumed."""
    return element("p", *children, class_="note")


def section(title: str, *children: object) -> Html:
    """A section with its heading; the anchor is made from the title."""
    name = "".join(letter if letter.isalnum() else "-" for letter in title.lower())
    return element("section", element("h2", title), *children, id=name)


def _markup(child: object) -> str:
    return child if isinstance(child, Html) else escape(str(child))
