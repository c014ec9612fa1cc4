"""`--into`: lays the tuned keys into a file of the user's, and touches nothing else of it."""

from __future__ import annotations

import difflib
import io
import itertools
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from autobatch.errors import UsageError
from autobatch.safe_files import parse_yaml

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


def merge(text: str, settings: Mapping[str, Any], aliases: Mapping[str, str], name: str) -> Merged:
    """Lay settings into YAML text; comments, order and all other keys stay.

    A key is changed where it stands, also inside a section; one that is nowhere goes beside the others.

    Args:
        text: of the user's file.
        settings: the tuned keys.
        aliases: older spelling -> key.
        name: of the file, for messages.

    Raises:
        UsageError: it is no YAML mapping, or a key stands in several sections.

    """
    # read strictly first, so that aliases, repeated keys and odd types are refused with their line
    if not isinstance(parse_yaml(text, name), dict):
        what = f"{name} holds no mapping of names to values."
        raise UsageError(what, "Name a YAML file of settings, or leave --into out.")
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(**_indentation(text))
    document = yaml.load(text)
    remarks = _lay(document, settings, aliases, name)
    out = io.StringIO(newline="\n")
    yaml.dump(document, out)
    diff = difflib.unified_diff(text.splitlines(), out.getvalue().splitlines(), name, f"{name} (merged)", lineterm="")
    return Merged(out.getvalue(), "\n".join(diff), tuple(remarks))


def _indentation(text: str) -> dict[str, int]:
    """Return the dash style that the file has already, so that its lists are not moved."""
    lines = text.splitlines()
    for before, line in itertools.pairwise(lines):
        if line.lstrip().startswith("- ") and before.rstrip().endswith(":"):
            inner = len(line) - len(line.lstrip()) - (len(before) - len(before.lstrip()))
            return {"mapping": 2, "sequence": inner + 2, "offset": inner}
    return {"mapping": 2, "sequence": 2, "offset": 0}


def _lay(
    document: MutableMapping[str, Any],
    settings: Mapping[str, Any],
    aliases: Mapping[str, str],
    name: str,
) -> list[str]:
    sections = _sections(document)
    home = max(sections.values(), key=lambda section: len(settings.keys() & section.keys()))
    remarks = list(_misspelt(sections, settings, aliases))
    for key, value in settings.items():
        older = [old for old, new in aliases.items() if new == key and old not in settings]
        spelling, section = _place(sections, [key, *older], name) or (key, home)
        if spelling != key:
            remarks.append(f"{spelling} is an older spelling of {key}; it was kept.")
        if spelling not in section or section[spelling] != value:
            section[spelling] = _older_value(spelling, value)
    return remarks


def _sections(document: MutableMapping[str, Any], path: str = "") -> dict[str, MutableMapping[str, Any]]:
    """Return every mapping of the document by its dotted path, the document itself under the empty one."""
    found = {path: document}
    for key, value in document.items():
        if isinstance(value, MutableMapping):
            found |= _sections(value, f"{path}.{key}".lstrip("."))
    return found


def _place(
    sections: Mapping[str, MutableMapping[str, Any]],
    spellings: list[str],
    name: str,
) -> tuple[str, MutableMapping[str, Any]] | None:
    for spelling in spellings:
        paths = [path for path, section in sections.items() if spelling in section]
        if len(paths) > 1:
            what = f"{name} has {spelling} in several places: {', '.join(path or 'the top' for path in paths)}."
            raise UsageError(what, "Keep it in one place, then merge again; the file was not changed.")
        if paths:
            return spelling, sections[paths[0]]
    return None


def _older_value(spelling: str, value: object) -> object:
    if spelling == "group_by_length":
        return value == "group_by_length" if isinstance(value, str) else value
    return value


def _misspelt(
    sections: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Any],
    aliases: Mapping[str, str],
) -> list[str]:
    remarks = []
    for section in sections.values():
        for key in section:
            near = difflib.get_close_matches(str(key), settings, n=1, cutoff=_CLOSE)
            longer = bool(near) and str(key).startswith(near[0])  # gradient_checkpointing_kwargs is a key of its own
            if near and not longer and key not in settings and key not in aliases:
                remarks.append(f"The key {key} is unknown; {near[0]} was meant? It was left as it is.")
    return remarks
