"""Whether the fields of a dataclass that was read from a stranger's file are of the kinds that it says."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_LOOSELY: Mapping[Any, Any] = {int: (int, float), float: (int, float), Any: object}
"""JSON knows one kind of number."""


def wrong(record: object) -> str | None:
    """Return the dotted name of the first field that is of another kind than its class says, or None."""
    assert dataclasses.is_dataclass(record)
    hints = get_type_hints(type(record))
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if not _fits(value, hints[field.name]):
            return field.name
        inner = wrong(value) if dataclasses.is_dataclass(value) else None
        if inner:
            return f"{field.name}.{inner}"
    return None


def _fits(value: object, hint: Any) -> bool:  # noqa: ANN401 - a hint is of no kind of its own
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inside)
    if origin is Literal:
        return value in inside
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(each, inside[0]) for each in value)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(_fits(each, inside[1]) for each in value.values())
    return isinstance(value, _LOOSELY.get(hint, hint))
