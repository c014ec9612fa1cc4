"""What a person should know of a file that is merged into, beside what was changed in it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from autobatch.export.document import Document, Entry, names_inside

_CLOSE = 0.85
"""Likeness from which an unknown key is taken for a misspelling of a tuned one."""


def against(found: Document, settings: Mapping[str, Any], rivals: Mapping[str, str]) -> Iterator[str]:
    """Say what works against the tuned keys, has their names and is another program's, or gave way to them."""
    for key, entry in found.entries.items():
        if key in settings:
            yield from _taken_out(entry, settings[key])
            continue
        inside = [name for name in dict.fromkeys(names_inside(entry.value)) if name in settings]
        if inside:
            yield f"The section {key} has {', '.join(inside)} of its own: left as it is."
        if key in rivals and not any(entry.has(off) for off in (None, False, "")):
            yield f"{key} is set, and {rivals[key]}. It was left as it is."


def _taken_out(entry: Entry, tuned: object) -> Iterator[str]:
    """Say what a list had besides the tuned items."""
    from yaml.nodes import SequenceNode

    if not isinstance(tuned, list) or not isinstance(entry.value, SequenceNode):
        return
    gone = [str(item.value) for item in entry.value.value if item.value not in tuned]
    if gone:
        yield f"{entry.key} no longer lists {', '.join(gone)}, which was not there when this was measured."


def misspelt(found: Document, settings: Mapping[str, Any], known: set[str]) -> Iterator[str]:
    """Say which keys look like a tuned one and are not."""
    for key in found.entries:
        near = difflib.get_close_matches(key, settings, n=1, cutoff=_CLOSE)
        longer = bool(near) and key.startswith(near[0])  # gradient_checkpointing_kwargs is a key of its own
        if near and not longer and key not in settings and key not in known:
            yield f"The key {key} is unknown; {near[0]} was meant? It was left as it is."
