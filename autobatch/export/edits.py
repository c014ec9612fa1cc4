"""What was changed by hand in the settings of a frozen file."""

from __future__ import annotations

import json
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


def _at(settings: Mapping[str, Any], key: str) -> str | None:
    """Return a value as it is written, where 16, 16.0 and true, 1 are two each; None: the key is not there."""
    return json.dumps(settings[key], sort_keys=True) if key in settings else None
