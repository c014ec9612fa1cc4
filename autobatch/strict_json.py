"""JSON that every reader takes: figures that are not finite, for which JSON has no word, become null."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping


def dumps(value: object, *, indent: int | None = None, ensure_ascii: bool = True) -> str:
    """Return a value of plain data as JSON text."""
    return json.dumps(_finite(value), indent=indent, ensure_ascii=ensure_ascii, allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value
