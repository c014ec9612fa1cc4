"""A YAML file of the user's as text with places: where each key of its top-level mapping stands, and its value ends."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from autobatch.errors import UsageError
from autobatch.safe_files import compose_yaml

if TYPE_CHECKING:
    from yaml.events import Event
    from yaml.nodes import MappingNode, Node

_ESCAPE = re.compile(r"\\(?:(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)")
_SOME_ESCAPE = r"\ufffd"
_LONGEST = 1000
"""Characters of a value that is compared; no setting is longer, and some long numbers take for ever to read."""


@dataclass(frozen=True)
class Entry:
    """A key of the top-level mapping and its value; places are characters from the start of the text."""

    key: str
    start: int
    key_end: int
    end: int
    """After the value's own text, before a comment that follows."""
    value: Node
    tied: bool
    """Whether an alias stands in it, or elsewhere for a part of it: it cannot be changed by itself."""

    @property
    def value_start(self) -> int:
        """First character of the value; only where it is not tied."""
        return int(self.value.start_mark.index)

    def has(self, value: object) -> bool:
        """Tell whether the value is this one."""
        from yaml import YAMLError
        from yaml.constructor import SafeConstructor

        if self.end - self.key_end > _LONGEST:
            return False
        try:
            return bool(SafeConstructor().construct_document(self.value) == value)
        except (YAMLError, ValueError, LookupError):  # a tag that its text does not fit
            return False


@dataclass(frozen=True)
class Document:
    """The text, and the entries of its top-level mapping by key, in order."""

    text: str
    entries: Mapping[str, Entry]
    flow: bool
    """Whether the mapping is written in braces."""
    end: int
    """Where a further entry goes, if there is none that it can follow."""

    @property
    def line_end(self) -> str:
        """What ends its lines."""
        return "\r\n" if "\r\n" in self.text else "\n"

    @cached_property
    def is_json(self) -> bool:
        """Whether it is JSON, too, and must stay so."""
        return self.flow and _is_json(self.text)

    def line_of(self, place: int) -> int:
        """Return where the line of a place begins."""
        return self.text.rfind("\n", 0, place) + 1

    def line_after(self, place: int) -> int:
        """Return where the line after a place begins: the place itself where a value took its line's end with it."""
        if self.text[place - 1 : place] == "\n":
            return place
        return self.text.find("\n", place) + 1 or len(self.text)


def read(text: str, name: str) -> Document:
    """Read YAML text; one without any value is an empty mapping.

    Args:
        text: of the user's file.
        name: of the file, for messages.

    Raises:
        UsageError: it is no YAML mapping.

    """
    from yaml.nodes import MappingNode

    legible = _legible(text)
    root = compose_yaml(legible, name)
    if root is None or root.start_mark.index == root.end_mark.index:
        return Document(text, {}, flow=False, end=root.end_mark.index if root else len(text))
    if not isinstance(root, MappingNode):
        what = f"{name} holds no mapping of names to values."
        raise UsageError(what, "Name a YAML file of settings, or leave --into out.")
    flow = bool(root.flow_style)
    end = int(root.end_mark.index) - flow
    return Document(text, {entry.key: entry for entry in _entries(legible, root, end, name)}, flow, end)


def _is_json(text: str) -> bool:
    with suppress(ValueError, RecursionError):
        return isinstance(json.loads(text), dict)
    return False


def _legible(text: str) -> str:
    """Return JSON without what YAML 1.1 does not read in it, tabs and surrogate pairs, all else in its place."""
    if not _is_json(text):
        return text
    return _ESCAPE.sub(lambda found: _SOME_ESCAPE if found["half"] else found[0], text.replace("\t", " "))


def _entries(text: str, root: MappingNode, end: int, name: str) -> Iterator[Entry]:
    import yaml

    events = list(yaml.parse(text, Loader=yaml.SafeLoader))
    aliased = {event.anchor for event in events if isinstance(event, yaml.AliasEvent)}
    ties = [_span(event)[0] for event in events if getattr(event, "anchor", None) in aliased]
    spans = [_span(event) for event in events if _is_text(event)]
    keys = list(_items(events))[::2]
    if any(isinstance(event, yaml.AliasEvent) for event in keys):
        what = f"{name} has an alias for a key at its top."
        raise UsageError(what, "Write the key out, then merge again; the file was not changed.")
    starts = [*(_span(event)[0] for event in keys), end if root.flow_style else len(text) + 1]
    for (key, value), (start, limit) in zip(root.value, pairwise(starts), strict=True):
        inside = spans[bisect_left(spans, (start, 0)) : bisect_left(spans, (limit, 0))]
        tied = bisect_left(ties, start) < bisect_left(ties, limit)
        yield Entry(str(key.value), start, int(key.end_mark.index), max(stop for _, stop in inside), value, tied)


def _items(events: list[Event]) -> Iterator[Event]:
    """Return how each key and value of the top-level mapping begins."""
    from yaml.events import CollectionEndEvent, CollectionStartEvent, NodeEvent

    depth = 0
    for event in events:
        if depth == 1 and isinstance(event, NodeEvent):
            yield event
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)


def _span(event: Event) -> tuple[int, int]:
    assert event.start_mark is not None
    assert event.end_mark is not None
    return event.start_mark.index, event.end_mark.index


def _is_text(event: Event) -> bool:
    """Tell whether an event ends where its text does; a block's end reaches over the comments that follow."""
    from yaml.events import AliasEvent, CollectionEndEvent, ScalarEvent

    if isinstance(event, CollectionEndEvent):
        start, end = _span(event)
        return end > start
    return isinstance(event, AliasEvent | ScalarEvent)


def names_inside(node: Node) -> Iterator[str]:
    """Return the names of all keys within a value."""
    return _names(node, set())


def _names(node: Any, seen: set[int]) -> Iterator[str]:  # noqa: ANN401 - a node, or the pair of a mapping
    from yaml.nodes import CollectionNode, MappingNode

    if not isinstance(node, CollectionNode) or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, MappingNode):
        yield from (str(key.value) for key, _ in node.value)
    for item in node.value:
        yield from _names(item[1] if isinstance(item, tuple) else item, seen)
