"""`--into`: lays the tuned keys into a YAML file of the user's, and touches no other character of it.

Values are replaced where the parser says they stand. Writing the whole document anew, as round-trip libraries do,
would move indentation and quotes that are no concern of ours.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autobatch.errors import UsageError
from autobatch.safe_files import parse_yaml

if TYPE_CHECKING:
    from yaml.nodes import MappingNode, Node

_CLOSE = 0.85
"""Likeness from which an unknown key is taken for a misspelling of a tuned one."""


@dataclass(frozen=True)
class Merged:
    """A user's file with the tuned keys laid in."""

    text: str
    diff: str
    """Unified; empty where nothing changes."""
    remarks: tuple[str, ...]
    """What a person should know: keys that look misspelt, older spellings that were kept."""


@dataclass(frozen=True)
class _Section:
    """A mapping of the document."""

    path: str
    node: MappingNode
    entries: Mapping[str, tuple[Node, Node]]


def merge(text: str, settings: Mapping[str, Any], aliases: Mapping[str, str], name: str) -> Merged:
    """Lay settings into YAML text.

    A key is changed where it stands, also inside a section; one that is nowhere goes beside the others.

    Args:
        text: of the user's file.
        settings: the tuned keys.
        aliases: older spelling -> key.
        name: of the file, for messages.

    Raises:
        UsageError: it is no YAML mapping, or a key stands in several sections.

    """
    document = parse_yaml(text, name)
    if not isinstance(document, dict):
        what = f"{name} holds no mapping of names to values."
        raise UsageError(what, "Name a YAML file of settings, or leave --into out.")
    import yaml

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert root is not None  # it holds a mapping
    sections = list(_sections(root))
    edits, missing, remarks = _plan(sections, settings, aliases, name)
    home = max(sections, key=lambda section: len(settings.keys() & section.entries.keys()))
    merged = _edited(text, [*edits, *_addition(text, home, missing, settings)])
    before, after = text.splitlines(), merged.splitlines()
    diff = difflib.unified_diff(before, after, name, f"{name} (merged)", lineterm="", n=1)
    return Merged(merged, "\n".join(diff), (*remarks, *_misspelt(sections, settings, aliases)))


def _sections(node: Node, path: str = "") -> Iterator[_Section]:
    from yaml.nodes import MappingNode

    if isinstance(node, MappingNode):
        yield _Section(path, node, {str(key.value): (key, value) for key, value in node.value})
        for key, value in node.value:
            yield from _sections(value, f"{path}.{key.value}".lstrip("."))


_Edit = tuple[int, int, str]
"""First character, the one after the last, and what stands there afterwards."""


def _plan(
    sections: list[_Section],
    settings: Mapping[str, Any],
    aliases: Mapping[str, str],
    name: str,
) -> tuple[list[_Edit], dict[str, Any], list[str]]:
    """Return the values to replace, the settings that the file lacks, and remarks."""
    edits, missing, remarks = [], {}, []
    for key, value in settings.items():
        older = [old for old, new in aliases.items() if new == key and old not in settings]
        found = _find(sections, [key, *older], name)
        if found is None:
            missing[key] = value
            continue
        spelling, node = found
        if spelling != key:
            remarks.append(f"{spelling} is an older spelling of {key}; it was kept.")
        edits += _replacement(node, _in_older_words(spelling, value))
    return edits, missing, remarks


def _find(sections: list[_Section], spellings: list[str], name: str) -> tuple[str, Node] | None:
    for spelling in spellings:
        holders = [section for section in sections if spelling in section.entries]
        if len(holders) > 1:
            places = ", ".join(section.path or "the top" for section in holders)
            what = f"{name} has {spelling} in several places: {places}."
            raise UsageError(what, "Keep it in one place, then merge again; the file was not changed.")
        if holders:
            return spelling, holders[0].entries[spelling][1]
    return None


def _in_older_words(spelling: str, value: object) -> object:
    return value == "group_by_length" if spelling == "group_by_length" else value


def _replacement(node: Node, value: object) -> list[_Edit]:
    """Return the edit that gives a node another value, or none where it has that value already."""
    from yaml.constructor import SafeConstructor

    if SafeConstructor().construct_document(node) == value:
        return []
    start = node.start_mark.index
    gap = " " if node.end_mark.index == start else ""
    return [(start, _end(node), gap + _inline(value))]


def _end(node: Node) -> int:
    """Return where a node's own text ends; the parser's end of a block reaches over the comments that follow."""
    from yaml.nodes import CollectionNode

    if isinstance(node, CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _inline(value: object) -> str:
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1 << 20)
    return text.removesuffix("\n").removesuffix("\n...")


def _addition(text: str, home: _Section, missing: Mapping[str, Any], settings: Mapping[str, Any]) -> list[_Edit]:
    """Return the edit that adds what a section lacks, after the last tuned key in it or at its end."""
    pairs = [f"{key}: {_inline(value)}" for key, value in missing.items()]
    if not pairs:
        return []
    if home.node.flow_style:
        last = int(home.node.end_mark.index) - 1
        return [(last, last, ", " * bool(home.entries) + ", ".join(pairs))]
    tuned = [key for key in home.entries if key in settings]
    key_node, value_node = home.entries[tuned[-1] if tuned else list(home.entries)[-1]]
    indent = " " * int(key_node.start_mark.column)
    end = "\r\n" if "\r\n" in text else "\n"
    lines = "".join(f"{indent}{pair}{end}" for pair in pairs)
    here = _end(value_node)
    if text[here - 1 : here] != "\n":
        here = text.find("\n", here) + 1
    return [(here, here, lines)] if here else [(len(text), len(text), end + lines)]


def _edited(text: str, edits: list[_Edit]) -> str:
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _misspelt(
    sections: list[_Section],
    settings: Mapping[str, Any],
    aliases: Mapping[str, str],
) -> Iterator[str]:
    for key in (key for section in sections for key in section.entries):
        near = difflib.get_close_matches(key, settings, n=1, cutoff=_CLOSE)
        longer = bool(near) and key.startswith(near[0])  # gradient_checkpointing_kwargs is a key of its own
        if near and not longer and key not in settings and key not in aliases:
            yield f"The key {key} is unknown; {near[0]} was meant? It was left as it is."
