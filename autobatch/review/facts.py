"""Nested facts, such as a machine's, as names and values that a person reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from autobatch.review import words
from autobatch.units import GIB


def flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield every fact that is known, one level deep: `gpu 0 name`, `libraries torch`; sizes in GiB."""
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name} ")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for index, each in enumerate(value):
                yield from flat(each, f"{prefix}{name.removesuffix('s')} {index} ")
        elif name.endswith("_bytes") and isinstance(value, int | float):
            yield prefix + name.removesuffix("_bytes"), size_or_share(name, value)
        elif value not in (None, "", [], ()):
            yield prefix + name, said(value)


def size_or_share(name: str, value: float) -> str:
    """Say a figure by its name: `..._bytes` is a size, anything else a share."""
    return f"{value / GIB:.1f} GiB" if name.endswith("_bytes") else words.percent(value)


def said(value: object) -> str:
    """Say a plain value."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value) or "-"
