import threading

import pytest

from autobatch.daemon import places, reading
from autobatch.errors import DatabaseError, UsageError
from autobatch.store.entry import State, Wish


def write(path, entry, text):
    log = places.log(path, entry)
    log.parent.mkdir(exist_ok=True)
    with log.open("a") as stream:
        stream.write(text)


def test_a_log_is_read_as_it_is(path, submit):
    write(path, submit(), "one\ntwo\n")
    assert "".join(reading.lines(path, 1, follow=False)) == "one\ntwo\n"


def test_a_log_is_followed_until_its_search_is_over(path, queue, submit, monkeypatch):
    monkeypatch.setattr(reading, "POLL_S", 0.02)
    entry = submit()
    write(path, entry, "one\n")

    def end():
        write(path, entry, "two\n")
        queue.end(queue.item(entry), State.DONE, "")

    timer = threading.Timer(0.2, end)
    timer.start()
    assert "".join(reading.lines(path, entry, follow=True)) == "one\ntwo\n"
    timer.join()


def test_following_what_was_cancelled_before_it_began_ends(path, queue, submit):
    entry = submit()
    queue.want(entry, Wish.CANCEL)
    assert "".join(reading.lines(path, entry, follow=True)) == ""


def test_what_is_not_there_is_said(path, submit):
    submit()
    with pytest.raises(UsageError, match="no search 9"):
        list(reading.lines(path, 9, follow=True))
    with pytest.raises(UsageError, match="no log"):
        list(reading.lines(path, 1, follow=False))
    with pytest.raises(DatabaseError, match="no database"):
        list(reading.lines(path.with_name("other.db"), None, follow=False))
