"""Which daemon works on a database: one at a time, by a lock that the kernel holds for as long as it lives."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from autobatch.daemon import places
from autobatch.errors import MachineError
from autobatch.store import mark as marks
from autobatch.store.connection import resolved
from autobatch.store.database import Database
from autobatch.store.lock import GpuLock, holder_of
from autobatch.store.owner import Process
from autobatch.store.trouble import explained

_NUMBER = 0
"""Of the daemon among those who show by the database's mark that they live; the ledger's owners begin with 1."""


@dataclass(frozen=True)
class Daemon:
    """The daemon at work on a database. What it says of itself may not be there yet, or may mean nothing here."""

    process: Process | None
    since: float | None
    """Seconds since the epoch."""

    @property
    def pid(self) -> int | None:
        """Its process here; None in another container, or while it starts."""
        return self.process.pid if self.process is not None and self.process.is_alive else None


def take(database: Database) -> None:
    """Become the database's daemon, until this process ends.

    Raises:
        MachineError: another one is at work.

    """
    if not database.mark.hold(_NUMBER):
        daemon = find(database.path)
        who = f"process {daemon.pid}" if daemon is not None and daemon.pid else "a process elsewhere"
        message = f"A daemon works on {database.path} already: {who}."
        raise MachineError(message, "`autobatch daemon stop` ends it; `autobatch status` shows what it does.")
    # without it nobody knows our pid: a full disk is no reason to leave the queue alone
    with contextlib.suppress(OSError):
        _write_record(places.record(database.path))


def find(path: Path) -> Daemon | None:
    """Return the daemon at work on a database, or None. Looking disturbs nobody, and nothing stale is ever found.

    Raises:
        DatabaseError: its mark cannot be read.

    """
    path = resolved(path)
    with explained(path):
        if not marks.is_held(path, _NUMBER):
            return None
    try:
        found = json.loads(places.record(path).read_text())
        return Daemon(Process(**found["process"]), float(found["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Daemon(None, None)


def search_on(identity: str) -> str:
    """Say who searches on a GPU (its UUID) or on the processors (`cpu`) now; nothing where nobody does.

    What a dead search left behind is nobody: the next search ends it, or says what it is.
    """
    lock = GpuLock(identity)
    try:
        lock.acquire()
    except MachineError as error:
        return error.what if _is_held_by_the_living(lock.path) else ""
    lock.release()
    return ""


def _is_held_by_the_living(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        return holder_of(descriptor, path).is_alive
    finally:
        os.close(descriptor)


def _write_record(path: Path) -> None:
    text = json.dumps({"process": asdict(Process.current()), "since": time.time()})
    path.parent.mkdir(mode=0o700, exist_ok=True)
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    fresh.replace(path)
