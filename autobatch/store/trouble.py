"""SQLite's errors in a person's words: what is wrong with the file, and what to do."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autobatch.errors import DatabaseError

FULL_BELOW_BYTES = 1 << 20
"""SQLite reports most failed writes on a full disk as I/O errors; less free space than this says which it was."""

_RETRY = "Run the same command again: what was finished is kept."
_WORDS: dict[int, tuple[str, str]] = {
    sqlite3.SQLITE_BUSY: ("is locked by another program", f"End that program or wait for it. {_RETRY}"),
    sqlite3.SQLITE_LOCKED: ("is locked by another part of this program", _RETRY),
    sqlite3.SQLITE_READONLY: ("may not be written", "Check the permissions of the file and of its folder."),
    sqlite3.SQLITE_PERM: ("may not be used", "Check the permissions of the file and of its folder."),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "Check the path, and the permissions of the file and of its folder."),
    sqlite3.SQLITE_NOTADB: ("is not an SQLite database", "Name another file, or put back a copy of this one."),
    sqlite3.SQLITE_CORRUPT: ("is damaged", "Put back a copy; `sqlite3 FILE .recover` saves what can be read."),
    sqlite3.SQLITE_IOERR: ("could not be read or written: the disk failed", f"Check the disk (dmesg). {_RETRY}"),
    sqlite3.SQLITE_FULL: ("could not be written: the disk is full", f"Free some space. {_RETRY}"),
    sqlite3.SQLITE_NOMEM: ("could not be read: no memory is left", f"Free some memory. {_RETRY}"),
}


Trouble = (sqlite3.Error, UnicodeDecodeError)
"""What `sqlite3` raises; the second where SQLite's own message quotes damaged text."""


def explain(error: sqlite3.Error | UnicodeDecodeError, path: Path) -> DatabaseError:
    """Return the error for a person; `path` is the database's."""
    if isinstance(error, UnicodeDecodeError):
        return damaged(path, "its schema is not text")
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_IOERR and _is_full(path):
        code = sqlite3.SQLITE_FULL
    what, do = _WORDS.get(code, ("could not be used", _RETRY))
    return DatabaseError(f"The database {path} {what} ({error}).", do)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Raise what SQLite and the file system refuse as `DatabaseError`."""
    try:
        yield
    except Trouble as error:
        raise explain(error, path) from error
    except OSError as error:
        what = f"The database {path} could not be used: {error.strerror}."
        raise DatabaseError(what, "Check the path, its permissions, and the disk.") from error


def damaged(path: Path, what: str) -> DatabaseError:
    """Return the error for content that SQLite took but we cannot read."""
    return DatabaseError(f"The database {path} is damaged: {what}.", _WORDS[sqlite3.SQLITE_CORRUPT][1])


def _is_full(path: Path) -> bool:
    space = os.statvfs(path.parent)
    return space.f_bavail * space.f_frsize < FULL_BELOW_BYTES
