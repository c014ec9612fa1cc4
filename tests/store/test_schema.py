from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from autobatch.errors import DatabaseError
from autobatch.settings import Configuration
from autobatch.store import read, schema
from autobatch.store.entry import read_items
from autobatch.store.ledger import Ledger
from autobatch.store.recovery import close_dead
from autobatch.store.schema import Migration
from autobatch.verdict import Kind

RELEASED = sorted((Path(__file__).parent / "schemas").glob("v*.sql"))


def load(dump, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    connection.executescript(dump.read_text())
    connection.close()


def shape(path):
    connection = sqlite3.connect(path)
    text = "SELECT name, sql FROM sqlite_master WHERE name LIKE 'ab_%' ORDER BY name"
    found = {name: " ".join(sql.split()) for name, sql in connection.execute(text)}
    connection.close()
    return found


def test_every_released_schema_is_kept():
    assert [dump.stem for dump in RELEASED] == [f"v{n}" for n in range(1, schema.VERSION + 1)]


@pytest.mark.parametrize("dump", RELEASED, ids=lambda dump: dump.stem)
def test_a_released_database_is_brought_up_to_date_and_keeps_its_rows(dump, path, tmp_path):
    load(dump, path)
    with Ledger.open(path) as ledger:
        assert [probe.trial_number for probe in close_dead(ledger)] == [2]
        assert ledger.quarantined("kobart") == [Configuration(per_device_train_batch_size=b) for b in (2, 4)]
        ledger.begin("kobart", 3, Configuration(per_device_train_batch_size=16), "probe", "search")
    [record] = read.probe(path, "kobart", 0)
    assert record.probe.verdict.measurements.samples_per_s == 12.5
    assert [event.event for event in record.events] == ["started", "sample"]
    assert read.probe(path, "kobart", 1)[0].probe.kind == Kind.KILLED_IN_FLIGHT
    Ledger.open(tmp_path / "new.db").close()
    assert shape(path) == shape(tmp_path / "new.db")


@pytest.mark.parametrize("dump", RELEASED, ids=lambda dump: dump.stem)
def test_new_migrations_are_applied_in_order_and_once_and_keep_the_rows(dump, path, monkeypatch):
    load(dump, path)
    before = schema.VERSION
    added = Migration("later", ("ALTER TABLE ab_queue ADD COLUMN later TEXT NOT NULL DEFAULT 'soon'",))
    filled = Migration("latest", ("UPDATE ab_queue SET later = reason || 'now'",))
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, added, filled))
    monkeypatch.setattr(schema, "VERSION", before + 2)
    for _ in range(2):
        with Ledger.open(path) as ledger, ledger.database.reading() as connection:
            assert schema.version(connection) == before + 2
            assert connection.execute("SELECT entry_id, later FROM ab_queue").fetchall() == [(1, "now")]
            applied = connection.execute("SELECT name FROM ab_migrations ORDER BY version").fetchall()
    assert [name for (name,) in applied[before:]] == ["later", "latest"]


def test_a_queue_as_it_was_is_read(path):
    load(RELEASED[-1], path)
    with read.opened(path) as connection:
        [item] = read_items(connection)
    assert (item.entry_id, item.state, item.setbacks, item.retry_at) == (1, "queued", 0, None)


def test_a_migration_that_fails_leaves_neither_change_nor_record(path, monkeypatch):
    Ledger.open(path).close()
    before, version = shape(path), schema.VERSION
    broken = Migration("broken", ("CREATE TABLE ab_half (x)", "CREATE TABLE ab_half (x)"))
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
    monkeypatch.setattr(schema, "VERSION", version + 1)
    with pytest.raises(DatabaseError):
        Ledger.open(path)
    assert shape(path) == before
    monkeypatch.undo()
    with Ledger.open(path) as ledger, ledger.database.reading() as connection:
        assert schema.version(connection) == version


def test_all_our_tables_have_our_prefix(path):
    Ledger.open(path).close()
    connection = sqlite3.connect(path)
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]
    connection.close()
    assert names
    assert all(name.startswith(("ab_", "sqlite_")) for name in names)
