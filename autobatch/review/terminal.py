"""Writing to streams of any encoding, with or without colour."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

_PIPE_WIDTH = 1000
"""Columns of a table that no terminal shows: nothing is wrapped or cut."""


def tolerant(stream: TextIO) -> TextIO:
    """Return the stream such that what its encoding lacks is written as `?`, and never raises."""
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        stream.reconfigure(errors="replace")
    return stream


def say(text: str, *, err: bool = False, end: str = "\n") -> None:
    """Write text on standard output, or on standard error."""
    stream = tolerant(sys.stderr if err else sys.stdout)
    stream.write(text + end)


def console(stream: TextIO, *, color: bool = True) -> Console:
    """Return a rich console on the stream: plain where it is no terminal, ASCII where its encoding is."""
    from rich.console import Console

    terminal = stream.isatty()
    return Console(
        file=tolerant(stream),
        no_color=not color or None,
        width=None if terminal else _PIPE_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
    )
