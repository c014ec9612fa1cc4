"""The systemd unit that runs a database's daemon."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from autobatch.daemon import places
from autobatch.store.connection import resolved

_UNIT = """\
[Unit]
Description=autobatch: searches of {database}
After=network.target nvidia-persistenced.service

[Service]
Type=notify
ExecStart={command}
WorkingDirectory={folder}
WatchdogSec=60
Restart=on-failure
RestartSec=5
# the daemon ends its searches itself; after its own death they go on, and it takes them up again
KillMode=process
# a confirmation may take five minutes
TimeoutStopSec=330

[Install]
WantedBy=default.target
"""


def run_command(database: Path) -> list[str]:
    """Return the command that runs a daemon in the foreground."""
    return [sys.executable, "-m", "autobatch", "daemon", "run", "--db", str(resolved(database))]


def unit(database: Path) -> str:
    """Return a unit for the daemon of a database, as a user's service or the system's.

    Raises:
        DatabaseError: the database's folder does not exist, or it is another user's.

    """
    places.check(database)
    path = resolved(database)
    command = _literal(shlex.join(run_command(path)), "%$")
    return _UNIT.format(database=_literal(str(path)), command=command, folder=_literal(str(path.parent)))


def _literal(text: str, special: str = "%") -> str:
    """Keep systemd from reading specifiers and variables into a path."""
    return "".join(2 * character if character in special else character for character in text)
