from __future__ import annotations

import sqlite3
import stat
import threading

import pytest

from autobatch.errors import DatabaseError, UsageError
from autobatch.settings import Configuration
from autobatch.store import read
from autobatch.store.ledger import Ledger
from autobatch.store.recovery import close_dead
from autobatch.verdict import Kind, Measurements, Verdict

STUDY = "kobart"


def rows(path, text="SELECT probe_id, trial_number, digest, kind FROM ab_probes"):
    connection = sqlite3.connect(path)
    try:
        return connection.execute(text).fetchall()
    finally:
        connection.close()


def test_a_row_is_committed_before_begin_returns(ledger, path, begin):
    entry = begin(ledger, 3)
    configuration = Configuration(per_device_train_batch_size=4)
    assert rows(path) == [(entry.probe_id, 3, configuration.digest, None)]
    [record] = read.probe(path, STUDY, 3)
    assert record.probe.configuration == configuration


def test_each_call_of_the_journal_is_committed_when_it_returns(ledger, path, begin):
    entry = begin(ledger)
    entry.started({"pid": 42, "start_time_ticks": 7, "boot_id": "b"})
    entry.intent("over the limit")
    [record] = read.probe(path, STUDY, 0)
    assert [(event.event, event.facts) for event in record.events] == [
        ("started", {"pid": 42, "start_time_ticks": 7, "boot_id": "b"}),
        ("intent", {"reason": "over the limit"}),
    ]


def test_samples_are_thinned_but_growth_and_the_last_are_kept(ledger, path, begin):
    entry = begin(ledger)
    entry.sample({"host_bytes": 100})
    for _ in range(50):
        entry.sample({"host_bytes": 101})
    assert len(read.probe(path, STUDY, 0)[0].events) == 1
    entry.sample({"host_bytes": 102})
    entry.intent("over the limit")
    assert [event.facts for event in read.probe(path, STUDY, 0)[0].events] == [
        {"host_bytes": 100},
        {"host_bytes": 102},
        {"reason": "over the limit"},
    ]


def test_growing_memory_is_written_ten_times_a_second(ledger, path, begin, monkeypatch):
    now = 1000.0
    monkeypatch.setattr("autobatch.store.journal.time.monotonic", lambda: now)
    entry = begin(ledger)
    for step in range(10):
        entry.sample({"device_bytes": 100 * 2**step})
        now += 0.06
    sizes = [event.facts["device_bytes"] for event in read.probe(path, STUDY, 0)[0].events]
    assert sizes == [100 * 4**step for step in range(5)]


def test_a_verdict_is_kept_whole(ledger, path, begin):
    verdict = Verdict(Kind.HOST_OOM, Measurements(samples_per_s=1.5), evidence={"counters": {"oom": 1}}, duration_s=2.0)
    begin(ledger).finish(verdict)
    assert read.probe(path, STUDY, 0)[0].probe.verdict == verdict


def test_an_entry_ends_once(ledger, begin):
    entry = begin(ledger)
    entry.finish(Verdict(Kind.OK))
    with pytest.raises(DatabaseError):
        entry.finish(Verdict(Kind.KILLED))


def test_attempts_are_counted_by_configuration_and_study(ledger, path, begin):
    for number, micro_batch in enumerate((1, 2, 1, 1)):
        begin(ledger, number, micro_batch).finish(Verdict(Kind.OK))
    ledger.begin("another", 0, Configuration(per_device_train_batch_size=1), "probe", "search")
    assert rows(path, "SELECT attempt FROM ab_probes") == [(1,), (1,), (2,), (3,), (1,)]


def test_a_killer_is_refused_until_a_person_releases_it(ledger, begin):
    begin(ledger, 0, 8).finish(Verdict(Kind.KILLED_IN_FLIGHT))
    killer = Configuration(per_device_train_batch_size=8)
    assert ledger.quarantined(STUDY) == [killer]
    assert ledger.quarantined("another") == []
    with pytest.raises(UsageError, match=killer.digest):
        begin(ledger, 1, 8)
    begin(ledger, 1, 4)
    ledger.release(STUDY, killer.digest)
    assert ledger.quarantined(STUDY) == []
    begin(ledger, 2, 8).finish(Verdict(Kind.KILLED_IN_FLIGHT))
    assert ledger.quarantined(STUDY) == [killer]


def test_a_ledger_closed_in_good_order_leaves_no_killer_behind(path, begin):
    with Ledger.open(path) as ledger:
        begin(ledger, 0, 8)
    with Ledger.open(path) as ledger:
        assert close_dead(ledger) == ()
        assert ledger.quarantined(STUDY) == []
    assert rows(path, "SELECT kind FROM ab_probes") == [("killed",)]


def test_what_another_process_has_in_flight_is_not_to_be_tried(ledger, path, begin):
    begin(ledger, 0, 8)
    assert ledger.quarantined(STUDY) == []
    with Ledger.open(path) as other:
        assert other.quarantined(STUDY) == [Configuration(per_device_train_batch_size=8)]


def test_releasing_what_is_not_quarantined_is_an_error(ledger, begin):
    begin(ledger).finish(Verdict(Kind.OK))
    with pytest.raises(UsageError):
        ledger.release(STUDY, Configuration(per_device_train_batch_size=4).digest)


def test_files_are_private_and_folders_too(ledger, path, begin):
    begin(ledger)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}
    assert {"trials.db", "trials.db-wal", "trials.db.mark"} <= set(modes)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_threads_may_write_at_once(ledger, path, begin):
    entry = begin(ledger)
    threads = [threading.Thread(target=entry.intent, args=(str(n),)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reasons = {event.facts["reason"] for event in read.probe(path, STUDY, 0)[0].events}
    assert reasons == {str(n) for n in range(20)}


def test_commits_are_synced_and_logged_ahead(ledger):
    with ledger.database.reading() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_an_altered_configuration_is_noticed(ledger, path, begin):
    begin(ledger, 0, 8).finish(Verdict(Kind.KILLED_IN_FLIGHT))
    connection = sqlite3.connect(path)
    connection.execute("UPDATE ab_probes SET configuration = replace(configuration, '8', '9')")
    connection.commit()
    connection.close()
    with pytest.raises(DatabaseError, match="digest"):
        ledger.quarantined(STUDY)


def test_what_was_written_is_there_after_a_kill(path, begin, killed):
    def act():
        ledger = Ledger.open(path)
        begin(ledger, 0).finish(Verdict(Kind.OK))
        begin(ledger, 1).intent("x")

    killed(act)
    assert [row[1::2] for row in rows(path)] == [(0, "ok"), (1, None)]
