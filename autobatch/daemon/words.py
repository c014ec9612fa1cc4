"""Lines in the daemon's and the workers' logs: with the time, and never a reason to stop working."""

from __future__ import annotations

import contextlib
import sys
from datetime import datetime

UNSEEN_END = "nobody saw how its command ended: its output is kept"
"""Of a search that was done, and whose process died while it watched the command for its end."""


def say(text: str) -> None:
    """Write one line to the log."""
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{now} {text}\n")
        sys.stderr.flush()
