"""What was changed by hand in the settings of a frozen file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Edit:
    """A key that is not as it was frozen; None stands for a key that is not there."""

    key: str
    frozen: Any
    now: Any


def between(frozen: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Edit, ...]:
    """Return the keys that are not as they were frozen."""
    keys = dict.fromkeys([*frozen, *now])
    return tuple(Edit(k, frozen.get(k), now.get(k)) for k in keys if _at(frozen, k) != _at(now, k))


def _at(settings: Mapping[str, Any], key: str) -> tuple[bool, Any]:
    """Return a value, and whether it is there: a key that was added is an edit, even an empty one."""
    return key in settings, settings.get(key)
