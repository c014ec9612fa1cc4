"""HTML that is escaped unless it was made here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any


class Html(str):
    """Markup that may stand in a page as it is."""

    __slots__ = ()


def element(name: str, *children: object, **attributes: object) -> Html:
    """Return an element; children that are not `Html` are escaped, as are attributes (`class_` is `class`)."""
    return Html(f"<{name}{_attributes(attributes)}>{inner(children)}</{name}>")


def inner(children: Iterable[object]) -> Html:
    """Return children side by side, escaped where they are not `Html`."""
    return Html("".join(child if isinstance(child, Html) else escape(str(child)) for child in children))


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]], figures: frozenset[int] = frozenset()) -> Html:
    """Return a table that a narrow screen shows as a list of cards; columns in `figures` are aligned to the right."""
    head = element("tr", *(_cell("th", text, index in figures) for index, text in enumerate(headings)))
    body = [_row(headings, row, figures) for row in rows]
    return element("table", element("thead", head), element("tbody", *body))


def pairs(facts: Iterable[tuple[str, object]]) -> Html:
    """Return names and values as a definition list."""
    return element("dl", *(element("div", element("dt", name), element("dd", value)) for name, value in facts))


def _row(headings: Sequence[str], row: Sequence[Any], figures: frozenset[int]) -> Html:
    cells = zip(headings, row, strict=True)
    return element("tr", *(_cell("td", value, i in figures, label) for i, (label, value) in enumerate(cells)))


def _cell(name: str, value: object, right: bool, label: str = "") -> Html:
    attributes = {"class": "figure"} if right else {}
    if label:
        attributes["data-label"] = label
    return element(name, value, **attributes)


def _attributes(attributes: dict[str, object]) -> str:
    return "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(str(value))}"' for name, value in attributes.items()
    )
