from __future__ import annotations

import errno
import os

import pytest

from autobatch.errors import DatabaseError
from autobatch.store import mark as marks
from autobatch.store.mark import Expected, Mark

IDENTITY = "0123456789abcdef" * 2


@pytest.fixture
def database(tmp_path):
    return tmp_path / "trials.db"


def test_nothing_is_expected_until_something_was_written(database):
    assert marks.expected(database) is None
    mark = Mark(database)
    assert marks.expected(database) is None
    mark.write(Expected(IDENTITY, 3), durable=True)
    mark.write(Expected(IDENTITY, 4))
    mark.close()
    assert marks.expected(database) == Expected(IDENTITY, 4)


@pytest.mark.parametrize("content", [b"x", b"\xff" * 300, b"autobatch database 12 commits 3\n"])
def test_an_unreadable_mark_expects_some_database(database, content):
    marks.path_of(database).write_bytes(content)
    assert marks.expected(database) == Expected("0" * 32, 0)


def test_a_mark_that_cannot_be_written_is_no_error(database, monkeypatch):
    mark = Mark(database)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", fail)
    mark.write(Expected(IDENTITY, 1))
    mark.close()
    assert marks.expected(database) is None


def test_the_opening_is_exclusive(database):
    first, second = Mark(database), Mark(database)
    with first.exclusive(1.0), pytest.raises(DatabaseError), second.exclusive(0.05):
        pass
    with second.exclusive(0.05):
        pass


def test_an_owners_byte_is_held_until_its_process_ends(database, killed):
    ours, theirs = Mark(database), Mark(database)
    assert theirs.hold(1)
    assert ours.is_held(1)
    assert not ours.hold(1)
    assert not ours.is_held(2)
    theirs.close()
    assert not ours.is_held(1)

    killed(lambda: Mark(database).hold(3) or os._exit(1))
    assert not ours.is_held(3)


def test_a_link_is_not_followed(database, tmp_path):
    marks.path_of(database).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        Mark(database)


def test_looking_needs_no_leave_to_write(tmp_path, monkeypatch):
    held = Mark(tmp_path / "a.db")
    held.hold(1)
    usual = os.open

    def read_only(path, flags, *mode):
        if flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return usual(path, flags, *mode)

    monkeypatch.setattr(os, "open", read_only)
    assert [marks.is_held(tmp_path / "a.db", owner) for owner in (1, 2)] == [True, False]
    assert not marks.is_held(tmp_path / "none.db", 1)
    held.close()
