"""Lines in the daemon's and the workers' logs: with the time, and never a reason to stop working."""

from __future__ import annotations

import contextlib
import sys
from datetime import datetime


def say(text: str) -> None:
    """Write one line to the log."""
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{now} {text}\n")
        sys.stderr.flush()
