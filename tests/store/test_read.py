from __future__ import annotations

import os
import sqlite3
import subprocess
import sys

import pytest

from autobatch.errors import DatabaseError
from autobatch.store import mark as marks
from autobatch.store import read
from autobatch.store.ledger import Ledger
from autobatch.verdict import Kind, Verdict

STUDY = "kobart"


def test_a_trial_without_probes_has_none(ledger, path, begin):
    begin(ledger, 1)
    assert read.probe(path, STUDY, 0) == []
    assert read.probe(path, "another", 1) == []


def test_repeated_probes_of_a_trial_are_told_in_order(ledger, path, begin):
    begin(ledger, 0).finish(Verdict(Kind.DISTURBED))
    begin(ledger, 0).finish(Verdict(Kind.OK))
    assert [record.probe.kind for record in read.probe(path, STUDY, 0)] == ["disturbed", "ok"]


def test_a_database_may_be_read_while_it_is_written(ledger, path):
    with ledger.database.transaction() as connection:
        connection.execute("UPDATE ab_database SET created_at = 0")
        with read.opened(path) as reader:
            assert reader.execute("SELECT created_at FROM ab_database").fetchone()[0] > 0


@pytest.mark.usefixtures("ledger")
def test_reading_cannot_write(path):
    with pytest.raises(DatabaseError, match="may not be written"), read.opened(path) as connection:
        connection.execute("UPDATE ab_database SET created_at = 0")


def test_no_database_is_an_error_and_none_is_made(path):
    with pytest.raises(DatabaseError, match="no database"):
        read.probe(path, STUDY, 0)
    assert not path.exists()


def test_losses_and_strangers_are_noticed_by_readers_too(ledger, path, begin):
    begin(ledger)
    ledger.close()
    expected = marks.expected(path)
    mark = marks.Mark(path)
    mark.write(marks.Expected(expected.database_id, expected.commits + 1))
    mark.close()
    with pytest.raises(DatabaseError, match="commits are missing"):
        read.probe(path, STUDY, 0)
    other = path.with_name("other.db")
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()
    with pytest.raises(DatabaseError, match="another program"):
        read.probe(other, STUDY, 0)


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', "[" * 10_000, '{"kind": "no such kind"}', '{"kind": "ok"}'])
def test_a_spoilt_verdict_is_an_error_and_never_more(ledger, path, begin, text):
    begin(ledger).finish(Verdict(Kind.OK))
    with ledger.database.transaction() as connection:
        connection.execute("UPDATE ab_probes SET verdict = ?", (text,))
    [record] = read.probe(path, STUDY, 0)
    with pytest.raises(DatabaseError):
        _ = record.probe.verdict


def test_a_spoilt_journal_is_an_error(ledger, path, begin):
    begin(ledger).intent("x")
    with ledger.database.transaction() as connection:
        connection.execute("UPDATE ab_events SET facts = 'cos\nsystem\n(S''true''\ntR.'")
    with pytest.raises(DatabaseError, match="journal"):
        read.probe(path, STUDY, 0)


def test_reading_needs_no_heavy_library():
    script = "import sys, autobatch.store.read, autobatch.store.ledger, autobatch.store.lock\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"optuna", "sqlalchemy", "torch", "numpy"} & set(done.stdout.split())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take another user's identity")
def test_a_database_in_a_folder_that_may_not_be_written_can_be_read(path, begin):
    with Ledger.open(path) as ledger:
        begin(ledger)
    for folder in (path.parent, *list(path.parents)[1:4]):
        folder.chmod(0o755)
    path.chmod(0o644)
    marks.path_of(path).chmod(0o644)
    pid = os.fork()
    if pid == 0:
        os.setuid(65534)
        os._exit(len(read.probe(path, STUDY, 0)))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
