"""The open database: found to be ours and whole before anything is written, and durable after each transaction."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autobatch.errors import DatabaseError
from autobatch.store import mark as marks
from autobatch.store import schema
from autobatch.store.connection import FileGuard, connect, resolved
from autobatch.store.inspection import check_content, check_whose
from autobatch.store.mark import Expected, Mark
from autobatch.store.trouble import explained

BUSY_S = 30.0
"""How long we wait for another writer. Ours hold the lock for milliseconds."""


class Database:
    """One connection to the database, for all threads of this process.

    Args:
        path: the file; it is made, private to its user, where nothing is expected there.
        busy_s: how long to wait for other writers.

    Raises:
        DatabaseError: it is another program's, a newer version's, damaged, full, locked, or lost what was written.

    """

    def __init__(self, path: str | os.PathLike[str], busy_s: float = BUSY_S) -> None:
        self.path = resolved(path)
        self._lock = threading.RLock()
        self._closed = False
        with explained(self.path):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _refuse_strangers(self.path, busy_s)
            self.mark = Mark(self.path)
            try:
                with self.mark.exclusive(busy_s):
                    self._open(busy_s)
            except BaseException:
                self.mark.close()
                raise

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write in one transaction, which is on the disk when this returns.

        Raises:
            DatabaseError: it could not be written; nothing of it was, and what was written before is untouched.

        """
        with self._lock, explained(self.path):
            self._guard.check()
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                counted = count_commit(self._connection)
                self._connection.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise
            self._guard.check()
            self.mark.write(counted)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Read, statement by statement."""
        with self._lock, explained(self.path):
            self._guard.check()
            yield self._connection

    def close(self) -> None:
        """Close the connection and release every lock; closing again does nothing."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._connection.close()
                self.mark.close()

    def _open(self, busy_s: float) -> None:
        expected = marks.expected(self.path)
        _make_or_find(self.path, expected)
        self._connection = connect(self.path, busy_s)
        try:
            check_whose(self._connection, self.path, expected)
            _use_write_ahead_log(self._connection, self.path)
            schema.migrate(self._connection)
            found = held(self._connection)
            check_content(self._connection, self.path, found, expected)
            self._guard = FileGuard(self.path, self._connection)
        except BaseException:
            self._connection.close()
            raise
        self.mark.write(found, durable=expected is None)

    def _roll_back(self) -> None:
        # the error under way says more than one of the rollback; SQLite rolls back by itself where it must
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


def _use_write_ahead_log(connection: sqlite3.Connection, path: Path) -> None:
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        what = f"The database {path} cannot keep a write-ahead log here (journal mode {mode})."
        raise DatabaseError(what, "Put it on a local disk.")


def count_commit(connection: sqlite3.Connection) -> Expected:
    """Count the transaction that is about to be committed; return what the database holds with it, for the mark."""
    connection.execute("UPDATE ab_database SET commits = commits + 1")
    return held(connection)


def held(connection: sqlite3.Connection) -> Expected:
    """Return what the database holds, as far as this connection sees."""
    return Expected(*connection.execute("SELECT database_id, commits FROM ab_database").fetchone())


def _refuse_strangers(path: Path, busy_s: float) -> None:
    """Refuse what is plainly not ours before a mark is made beside it."""
    if marks.path_of(path).exists() or not path.exists():
        return
    _check_regular(path.stat(), path)
    if path.stat().st_size > 0:
        with contextlib.closing(connect(path, busy_s)) as connection:
            check_whose(connection, path, None)


def _check_regular(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise DatabaseError(f"{path} is not a regular file.", "Name a file for the database.")


def _make_or_find(path: Path, expected: Expected | None) -> None:
    try:
        found = path.stat()
    except FileNotFoundError:
        if expected is not None:
            raise _lost(path, "is gone") from None
        # private from its first moment on; SQLite gives its side files the same permissions
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        return
    _check_regular(found, path)
    if found.st_size == 0 and expected is not None:
        raise _lost(path, "is empty")


def _lost(path: Path, what: str) -> DatabaseError:
    do = f"Put it back from a copy, with its -wal file; to begin anew on purpose, delete {marks.path_of(path)} first."
    return DatabaseError(f"The database {path} {what}, but data was written to it.", do)
