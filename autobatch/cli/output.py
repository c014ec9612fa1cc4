"""Standard output that is full, or closed, as an error of ours: no traceback, and nothing lost without a word."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from autobatch.errors import MachineError
from autobatch.review.terminal import tolerant

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_STDOUT, _STDERR = 1, 2


class ReaderGoneError(MachineError):
    """Whoever read our output through a pipe has left, as `head` does: nobody is there to be told."""


class _Output(io.FileIO):
    """The bytes of standard output. After the first refusal the rest is dropped: Python writes again when it ends."""

    _is_lost = False

    def write(self, data: ReadableBuffer, /) -> int:
        if self._is_lost:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError as error:
            self._is_lost = True
            kind = ReaderGoneError if isinstance(error, BrokenPipeError) else MachineError
            what = f"Standard output cannot be written: {error.strerror}."
            raise kind(what, "Free some space there, or send it elsewhere; what is in the database is kept.") from error


def guard() -> None:
    """Have standard output raise `MachineError` where it cannot be written, from now on in this process.

    What its encoding lacks, as half of a surrogate pair in a name that is no UTF-8, is no reason: it becomes `?`.
    """
    _fill()
    present = sys.stdout
    encoding, errors = (present.encoding, present.errors) if present else (None, None)
    raw = _Output(_STDOUT, "wb", closefd=False)
    sys.stdout = tolerant(io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=raw.isatty()))
    sys.stderr = tolerant(sys.stderr) if sys.stderr else Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - to the end


def _fill() -> None:
    """Take the standard descriptors that are closed, lest a database be opened as one; writing to ours fails."""
    while (taken := os.open(os.devnull, os.O_RDONLY)) <= _STDERR:
        pass
    os.close(taken)
