from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from autobatch.errors import DatabaseError
from autobatch.store import trouble
from autobatch.store.trouble import explain, explained


def error(code):
    found = sqlite3.OperationalError("said by SQLite")
    found.sqlite_errorcode = code
    return found


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (sqlite3.SQLITE_BUSY, "locked"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "locked"),
        (sqlite3.SQLITE_FULL, "the disk is full"),
        (sqlite3.SQLITE_IOERR_WRITE, "the disk failed"),
        (sqlite3.SQLITE_CORRUPT_VTAB, "damaged"),
        (sqlite3.SQLITE_NOTADB, "not an SQLite database"),
        (sqlite3.SQLITE_CANTOPEN, "cannot be opened"),
        (sqlite3.SQLITE_READONLY_DBMOVED, "may not be written"),
        (sqlite3.SQLITE_MISUSE, "could not be used"),
    ],
)
def test_each_error_says_what_and_what_to_do(tmp_path, code, said):
    found = explain(error(code), tmp_path / "trials.db")
    assert said in found.what
    assert str(tmp_path / "trials.db") in found.what
    assert "said by SQLite" in found.what
    assert found.do


def test_an_io_error_on_a_full_disk_is_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(trouble, "FULL_BELOW_BYTES", 1 << 62)
    assert "the disk is full" in explain(error(sqlite3.SQLITE_IOERR_WRITE), tmp_path / "trials.db").what


def test_the_file_systems_errors_are_told_too():
    with pytest.raises(DatabaseError, match="Permission denied"), explained(Path("/x/trials.db")):
        raise PermissionError(13, "Permission denied")


def test_a_message_that_is_not_text_is_damage():
    with pytest.raises(DatabaseError, match="damaged"), explained(Path("/x/trials.db")):
        b"\xff".decode()


def test_other_errors_are_left_alone():
    with pytest.raises(ZeroDivisionError), explained(Path("/x/trials.db")):
        raise ZeroDivisionError
