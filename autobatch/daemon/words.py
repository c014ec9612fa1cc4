"""Lines in the daemon's and the workers' logs: with the time, and never a reason to stop working."""

from __future__ import annotations

import contextlib
import sys
from datetime import datetime
from typing import TextIO


class PatientStream:
    """A text stream that loses what a full disk does not take, instead of raising."""

    encoding = "utf-8"

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text, if it can be written."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream, if it can be flushed."""
        with contextlib.suppress(OSError):
            self._stream.flush()

    def isatty(self) -> bool:
        """Tell that a log is no terminal."""
        return False


def say(text: str) -> None:
    """Write one line to the log."""
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{now} {text}\n")
        sys.stderr.flush()
