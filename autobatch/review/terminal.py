"""Writing to streams of any encoding, with or without colour."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

_GONE = (errno.EPIPE, errno.EIO)
"""Nobody will read this stream again: the pipe's reader, or the terminal, is gone."""
_PIPE_WIDTH = 1000
"""Columns of a table that no terminal shows: nothing is wrapped or cut."""


class PatientStream:
    """A text stream that loses what cannot be written, on a full disk or with its reader gone, instead of raising."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = tolerant(stream)
        self.encoding = getattr(stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write the text, if it can be written."""
        self._attempt(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush the stream, if it can be flushed."""
        self._attempt(self._stream.flush)

    def isatty(self) -> bool:
        """Tell whether the stream is a terminal."""
        return self._stream.isatty()

    def _attempt(self, act: Callable[[], object]) -> None:
        try:
            act()
        except OSError as error:
            if error.errno in _GONE:
                _send_nowhere(self._stream)


def _send_nowhere(stream: TextIO) -> None:
    """Have the stream lose what it still holds: Python writes that when it ends, and calls the end a failure."""
    with contextlib.suppress(OSError):
        descriptor, nowhere = stream.fileno(), os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def tolerant(stream: TextIO) -> TextIO:
    """Return the stream such that what its encoding lacks is written as `?`, and never raises."""
    # the second is what Python takes in the C locale
    if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
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
