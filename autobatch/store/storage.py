"""Optuna's storage in our database: its own tables, on connections as durable and as patient as ours."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import weakref
from pathlib import Path

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import event
from sqlalchemy.engine import Connection, ExceptionContext
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from autobatch.errors import DatabaseError
from autobatch.store.connection import FileGuard, connect, identity, replaced
from autobatch.store.database import BUSY_S, Database, count_commit, held
from autobatch.store.mark import Mark
from autobatch.store.trouble import Trouble, explain, explained

_GUARD = "autobatch: whether the files are still the same"
_COUNTED = "autobatch: whether a commit was counted"


def open_storage(path: str | os.PathLike[str], busy_s: float = BUSY_S) -> RDBStorage:
    """Open Optuna's storage in the database `path`; what SQLite refuses later is raised as `DatabaseError` too.

    `storage.engine.dispose()` closes its connections.

    Raises:
        DatabaseError: the database cannot be used, or Optuna's tables in it are of another version.

    """
    database = Database(path, busy_s)
    try:
        with explained(database.path):
            mark = Mark(database.path)
            # two processes that make Optuna's tables at once would collide
            with mark.exclusive(busy_s):
                storage = _storage(database.path, busy_s)
        weakref.finalize(storage, mark.close)
        storage.engine.dispose()  # what was opened to make the tables is not watched
        _watch(storage, database.path)
        _count_commits(storage, mark)
        return storage
    finally:
        database.close()


def _storage(path: Path, busy_s: float) -> RDBStorage:
    options = {"creator": lambda: _connect(path, busy_s), "poolclass": QueuePool}
    try:
        return RDBStorage("sqlite://", engine_kwargs=options)
    except (StorageInternalError, SQLAlchemyError) as error:
        raise _explain(error, path) from error
    except RuntimeError as error:
        what = f"The database {path} was made by another version of Optuna."
        do = f"Use that version, or run `optuna storage upgrade --storage sqlite:///{path}` on a copy."
        raise DatabaseError(what, do) from error


def _connect(path: Path, busy_s: float) -> sqlite3.Connection:
    connection = connect(path, busy_s)
    # Optuna reads before it writes: a transaction begun by the read could not become a writer once another process
    # has written (SQLITE_BUSY_SNAPSHOT, whatever the timeout), so it begins with the first write, as a writer
    connection.isolation_level = "IMMEDIATE"
    return connection


def _watch(storage: RDBStorage, path: Path) -> None:
    file = identity(path)

    def guard(raw: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
        record.info[_GUARD] = FileGuard(path, raw)
        if identity(path) != file:
            raise replaced(path)

    def check(connection: Connection) -> None:
        connection.info[_GUARD].check()

    def translate(context: ExceptionContext) -> None:
        error = context.original_exception
        if isinstance(error, Trouble) and not isinstance(error, sqlite3.IntegrityError):
            raise explain(error, path) from error

    event.listen(storage.engine, "connect", guard)
    event.listen(storage.engine, "begin", check)
    event.listen(storage.engine, "commit", check)
    event.listen(storage.engine, "handle_error", translate)


def _count_commits(storage: RDBStorage, mark: Mark) -> None:
    """Count Optuna's commits as ours are, so that losing them is noticed too."""

    def count(connection: Connection) -> None:
        raw = connection.connection.dbapi_connection
        # a transaction is open only where something was written: see `_connect`
        if isinstance(raw, sqlite3.Connection) and raw.in_transaction:
            count_commit(raw)
            connection.info[_COUNTED] = True

    def write(raw: object, record: ConnectionPoolEntry) -> None:
        # read back, not remembered: a commit that failed, on a full disk for example, is rolled back by now
        if record.info.pop(_COUNTED, False) and isinstance(raw, sqlite3.Connection):
            with contextlib.suppress(sqlite3.Error):
                mark.write(held(raw))

    event.listen(storage.engine, "commit", count)
    event.listen(storage.engine, "checkin", write)


def _explain(error: BaseException, path: Path) -> DatabaseError:
    """Return what SQLite said, from below the libraries that wrapped it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, Trouble):
            return explain(cause, path)
        cause = cause.__cause__
    return DatabaseError(f"The database {path} could not be used: {error}.", "Put back a copy, or name another file.")
