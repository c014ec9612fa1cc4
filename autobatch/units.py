"""Sizes and durations as people write and read them."""

from __future__ import annotations

import math
import re

from autobatch.errors import UsageError

GIB = 2**30
_BYTES = {"": 1, "b": 1, "k": 2**10, "kb": 10**3, "kib": 2**10, "m": 2**20, "mb": 10**6, "mib": 2**20}
_BYTES |= {"g": 2**30, "gb": 10**9, "gib": 2**30, "t": 2**40, "tb": 10**12, "tib": 2**40}
LONGEST_S = 366 * 86400.0
"""A duration above this is a mistake, and more than timers take."""
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_bytes(text: str) -> int:
    """Read a size such as `24GiB`, `60G` or `512m` (binary, as containers mean them) or `512MB` into bytes.

    Raises:
        UsageError: it is no size.

    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    scale = _BYTES.get(match[2].lower()) if match else None
    if match is None or scale is None or not 1 <= float(match[1]) * scale < math.inf:
        message = f"{text!r} is not a size."
        raise UsageError(message, "Write it as a number and a unit, for example 24GiB or 60GB.")
    return int(float(match[1]) * scale)


def parse_duration(text: str) -> float:
    """Read a duration such as `90s`, `30m` or `1h30m` into seconds; a bare number is seconds.

    Raises:
        UsageError: it is no duration, or one above `LONGEST_S`.

    """
    stripped = text.strip().lower()
    written = f"{stripped}s" if re.fullmatch(r"\d+(\.\d+)?", stripped) else stripped
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", written)
    if not parts or "".join(number + unit for number, unit in parts) != written:
        message = f"{text!r} is not a duration."
        raise UsageError(message, "Write it as 90s, 30m or 1h30m.")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds > LONGEST_S:
        raise UsageError(f"{text[:40]!r} is longer than a year.", "Write it as 90s, 30m or 1h30m.")
    return seconds


def format_bytes(count: float) -> str:
    """Write bytes as GiB with one decimal, or MiB below one GiB."""
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / 2**20:.0f} MiB"


def format_duration(seconds: float) -> str:
    """Write a duration as a person would say it: `45 s`, `12 min`, `3 h 05 min`."""
    if seconds < 90:  # noqa: PLR2004 - up to a minute and a half, seconds read best
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"  # noqa: PLR2004
