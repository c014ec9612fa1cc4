from __future__ import annotations

import os
import shutil
import sqlite3

import pytest

from autobatch.daemon import places, presence
from autobatch.errors import EXIT_DATABASE, DatabaseError
from autobatch.settings import Configuration
from autobatch.store import mark as marks
from autobatch.store import read, schema
from autobatch.store.ledger import Ledger


def execute(path, *statements):
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def write(ledger, number=0):
    return ledger.begin("kobart", number, Configuration(per_device_train_batch_size=number + 1), "probe", "search")


def spoil(ledger):
    with ledger.database.transaction() as connection:
        connection.execute("UPDATE ab_database SET created_at = 0")
        connection.execute("UPDATE nothing SET created_at = 0")


def refusal(path, **options):
    with pytest.raises(DatabaseError) as caught:
        Ledger.open(path, **options)
    assert caught.value.exit_code == EXIT_DATABASE
    assert caught.value.do
    return caught.value.what


@pytest.fixture
def filled(path):
    with Ledger.open(path) as ledger:
        write(ledger)
    return path


@pytest.fixture
def hot(path, tmp_path):
    """A database as a killed process leaves it: what was written lies in its log."""
    with Ledger.open(path) as ledger:
        write(ledger)
        shutil.copytree(path.parent, tmp_path / "hot")
    return tmp_path / "hot" / path.name


def test_a_missing_file_is_made_once_and_missed_after(filled):
    filled.unlink()
    assert "is gone" in refusal(filled)
    assert not filled.exists()
    marks.path_of(filled).unlink()
    Ledger.open(filled).close()


def test_an_emptied_file_is_refused(filled):
    os.truncate(filled, 0)
    assert "is empty" in refusal(filled)


def test_a_lost_log_is_noticed(hot):
    hot.with_name(hot.name + "-wal").unlink()
    assert "does not hold what was written" in refusal(hot)


def test_an_older_copy_is_noticed_and_taken_on_a_persons_word(path, tmp_path):
    with Ledger.open(path) as ledger:
        write(ledger, 0)
    shutil.copy(path, tmp_path / "copy")
    with Ledger.open(path) as ledger:
        write(ledger, 1)
    shutil.copy(tmp_path / "copy", path)
    assert "commits are missing" in refusal(path)
    marks.path_of(path).unlink()
    Ledger.open(path).close()


def test_another_database_in_its_place_is_noticed(filled, tmp_path):
    other = tmp_path / "other.db"
    with Ledger.open(other) as ledger:
        for number in range(5):
            write(ledger, number)
    shutil.copy(other, filled)
    assert "another database" in refusal(filled)


def test_a_lost_index_file_and_a_lost_mark_are_made_again(hot):
    hot.with_name(hot.name + "-shm").unlink()
    marks.path_of(hot).unlink()
    with Ledger.open(hot) as ledger, ledger.database.reading() as connection:
        assert connection.execute("SELECT count(*) FROM ab_probes").fetchone() == (1,)
    assert marks.expected(hot).commits > 0


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE songs (title TEXT)", "PRAGMA application_id = 7", "CREATE TABLE studies (name TEXT)"],
)
def test_another_programs_database_is_not_touched(path, statement):
    execute(path, statement, "CREATE TABLE other (x)")
    before = path.read_bytes()
    assert "another program" in refusal(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_newer_schema_is_refused_to_writers_and_readers_in_one_line_and_left_alone(filled):
    execute(filled, f"INSERT INTO ab_migrations VALUES ({schema.VERSION + 1}, 'later', 0)")
    before = filled.read_bytes()
    said = refusal(filled)
    with pytest.raises(DatabaseError) as caught, read.opened(filled):
        pass
    assert caught.value.what == said
    assert f"newer autobatch (schema {schema.VERSION + 1}; this one knows {schema.VERSION})" in said
    assert "\n" not in said + caught.value.do
    assert filled.read_bytes() == before


def test_text_is_no_database(path):
    path.parent.mkdir()
    path.write_text("learning_rate: 1e-4\n" * 1000)
    assert "not an SQLite database" in refusal(path)
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_is_no_database(path):
    path.mkdir(parents=True)
    assert "not a regular file" in refusal(path)
    assert list(path.parent.iterdir()) == [path]


def test_links_that_go_round_in_a_circle_are_refused_to_all(tmp_path):
    loop, other = tmp_path / "loop.db", tmp_path / "other.db"
    loop.symlink_to(other)
    other.symlink_to(loop)
    assert "lead nowhere" in refusal(loop)
    for look in (lambda: read.opened(loop).__enter__(), lambda: presence.find(loop), lambda: places.log(loop)):
        with pytest.raises(DatabaseError, match="lead nowhere"):
            look()


def test_a_path_below_a_file_is_refused(filled):
    assert "could not be used" in refusal(filled / "trials.db")


def test_damaged_pages_are_found_at_the_start(filled):
    content = bytearray(filled.read_bytes())
    content[4096:8192] = os.urandom(4096)
    filled.write_bytes(content)
    assert "damaged" in refusal(filled)


def test_an_index_that_hides_rows_is_found_at_the_start(filled):
    execute(
        filled,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = replace(sql, '(study, kind)', '(study, kind) WHERE kind = ''ok''')"
        " WHERE name = 'ab_probes_by_kind'",
    )
    assert "damaged" in refusal(filled)


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_a_file_deleted_while_open_is_noticed_before_anything_is_acknowledged(path, suffix):
    with Ledger.open(path) as ledger:
        write(ledger)
        path.with_name(path.name + suffix).unlink()
        with pytest.raises(DatabaseError, match="deleted or replaced"):
            write(ledger, 1)


def test_a_lock_is_waited_for_and_then_named(filled):
    other = sqlite3.connect(filled, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with Ledger.open(filled, busy_s=0.1) as ledger:
        with pytest.raises(DatabaseError, match="locked by another program"):
            write(ledger, 1)
        other.close()
        write(ledger, 1)


def test_an_opening_that_never_ends_elsewhere_is_named(filled):
    holder = marks.Mark(filled)
    with holder.exclusive(1.0):
        assert "locked" in refusal(filled, busy_s=0.1)
    holder.close()
    Ledger.open(filled).close()


def test_a_failed_transaction_leaves_nothing(path):
    with Ledger.open(path) as ledger:
        with pytest.raises(DatabaseError):
            spoil(ledger)
        with ledger.database.reading() as connection:
            assert connection.execute("SELECT created_at FROM ab_database").fetchone()[0] > 0
            assert not connection.in_transaction


@pytest.mark.parametrize("name", ["with space.db", "100%.db", "a?b#c.db", "{x}.db", "모델.db"])
def test_any_file_name_will_do(tmp_path, name):
    with Ledger.open(tmp_path / name) as ledger:
        write(ledger)
    assert (tmp_path / name).stat().st_size > 0


def test_a_link_is_followed_to_where_the_side_files_are(filled, tmp_path):
    link = tmp_path / "link.db"
    link.symlink_to(filled)
    with Ledger.open(link) as ledger:
        write(ledger, 1)
        assert ledger.database.path == filled
    assert not marks.path_of(link).exists()
