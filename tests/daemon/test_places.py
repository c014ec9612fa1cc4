import os
import stat

import pytest

from autobatch.daemon import places
from autobatch.errors import DatabaseError


def test_naming_a_place_makes_nothing(path):
    assert places.log(path, 3).parent == places.folder(path)
    assert not places.folder(path).exists()


def test_logs_are_private_and_appended_to(path):
    for text in (b"one\n", b"two\n"):
        descriptor = places.open_log(places.log(path))
        os.write(descriptor, text)
        os.close(descriptor)
    assert places.log(path).read_text() == "one\ntwo\n"
    assert stat.S_IMODE(places.log(path).stat().st_mode) == 0o600
    assert stat.S_IMODE(places.folder(path).stat().st_mode) == 0o700


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(DatabaseError, match="does not exist"):
        places.check(tmp_path / "nowhere" / "trials.db")


def test_another_users_database_is_left_alone(path, monkeypatch):
    path.touch()
    places.check(path)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(DatabaseError, match="another user"):
        places.check(path)
