"""A small file beside the database that says what the database must hold.

SQLite takes a lost write-ahead log, an emptied file or an older copy for a smaller database. The mark, written after
each of our commits, names the database and counts them: a database that holds fewer has lost data.

It is written in place without a sync. It outlives every process that way, and after a power loss it may lag behind
the database but never run ahead of it, so it raises no false alarm. Locks on it are Linux's own: one while the
database is opened, and one byte for each process that has a probe in flight, held for as long as the process lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from autobatch.errors import DatabaseError

SUFFIX = ".mark"
_CONTENT = re.compile(rb"autobatch database ([0-9a-f]{32}) commits (\d{20})\n")
_FLOCK = "hhqqi"
"""`struct flock`: type, whence, start, length, pid."""
_OWNERS_FROM = 1 << 20
_POLL_S = 0.02


@dataclass(frozen=True)
class Expected:
    """What the database must hold: its identity (32 hexadecimal digits), and at least this many commits."""

    database_id: str
    commits: int


class Mark:
    """The mark of one database, open for as long as the database is.

    Raises:
        OSError: it cannot be opened or made.

    """

    def __init__(self, database: Path) -> None:
        self.path = path_of(database)
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def close(self) -> None:
        """Close it, which releases every lock held through it."""
        os.close(self._descriptor)

    @contextmanager
    def exclusive(self, timeout_s: float) -> Iterator[None]:
        """Hold the database's opening for ourselves.

        Raises:
            DatabaseError: another process held it for `timeout_s`.

        """
        deadline = time.monotonic() + timeout_s
        while not self._try_lock():
            if time.monotonic() > deadline:
                what = f"{self.path} is locked: another process has been opening this database for {timeout_s:g} s."
                raise DatabaseError(what, "End that process, then run the same command again.")
            time.sleep(_POLL_S)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def write(self, expected: Expected, *, durable: bool = False) -> None:
        """Write down what the database holds by now, after it is committed there."""
        line = f"autobatch database {expected.database_id} commits {expected.commits:020}\n".encode()
        # the commit is done: a mark that lags only sees less, and is no reason to call the commit failed
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, line, 0)
            if durable:
                os.fsync(self._descriptor)

    def hold(self, owner: int) -> bool:
        """Lock the byte of an owner, a small number, until this process ends; say whether it could be had."""
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, _lock_request(owner))
        except BlockingIOError:
            return False
        return True

    def is_held(self, owner: int) -> bool:
        """Tell whether another open mark, in any process or container of this machine, holds the byte of an owner."""
        return _is_locked(self._descriptor, owner)

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def path_of(database: Path) -> Path:
    """Return where the mark of a database lies."""
    return database.with_name(database.name + SUFFIX)


def is_held(database: Path, owner: int) -> bool:
    """Tell whether a process holds the byte of an owner; looking needs no leave to write.

    Raises:
        OSError: the mark cannot be read.

    """
    try:
        descriptor = os.open(path_of(database), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        return _is_locked(descriptor, owner)
    finally:
        os.close(descriptor)


def expected(database: Path) -> Expected | None:
    """Return what the mark says, or None where it says that nothing is expected yet.

    A mark that is there but unreadable expects some database, of no known identity: all zeros.
    """
    try:
        content = path_of(database).read_bytes()[:200]
    except FileNotFoundError:
        return None
    if not content:
        return None
    match = _CONTENT.fullmatch(content)
    return Expected(match[1].decode(), int(match[2])) if match else Expected("0" * 32, 0)


def _is_locked(descriptor: int, owner: int) -> bool:
    answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _lock_request(owner))
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)


def _lock_request(owner: int) -> bytes:
    return struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, _OWNERS_FROM + owner, 1, 0)
