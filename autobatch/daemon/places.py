"""Where a daemon's files lie: all beside its database, private to their user."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from autobatch.errors import MachineError
from autobatch.store.lock import GpuLock, Holder, holder_of


def folder(database: Path) -> Path:
    """Return the folder of logs of a database's queue, made where it is missing."""
    path = Path(f"{database.resolve()}.queue")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def log(database: Path, entry_id: int | None = None) -> Path:
    """Return the log of one search of the queue, or of the daemon itself."""
    return folder(database) / ("daemon.log" if entry_id is None else f"{entry_id}.log")


def done_log(database: Path, entry_id: int) -> Path:
    """Return where the output of a search's `--on-done` command is kept."""
    return folder(database) / f"{entry_id}.on-done.log"


def open_log(path: Path) -> int:
    """Return a descriptor that appends to a log, private to its user."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def lock(database: Path) -> GpuLock:
    """Return the lock that makes a database's daemon the only one."""
    name = hashlib.sha256(str(database.resolve()).encode()).hexdigest()[:16]
    return GpuLock(f"daemon-{name}")


def holder(database: Path) -> Holder | None:
    """Return the daemon at work on a database, or None: a lock outlives nobody, so nothing stale can be found."""
    wanted = lock(database)
    with contextlib.suppress(MachineError):
        wanted.acquire()
        wanted.release()
        return None
    descriptor = os.open(wanted.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return holder_of(descriptor, wanted.path)
    finally:
        os.close(descriptor)
