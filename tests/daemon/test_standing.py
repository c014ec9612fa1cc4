import json
import os
import time
from dataclasses import replace
from types import SimpleNamespace

import optuna
import pytest

from autobatch.daemon import presence
from autobatch.daemon.standing import status
from autobatch.errors import DatabaseError
from autobatch.settings import Configuration
from autobatch.store import open_storage
from autobatch.store.entry import State
from autobatch.store.ledger import Ledger
from autobatch.store.owner import Process
from autobatch.verdict import Kind, Verdict


def only(path):
    [one] = status(path)["searches"]
    return one


def test_a_queued_search_is_said_to_be_one(path, submit):
    submit()
    state = status(path)
    assert json.loads(json.dumps(state)) == state
    assert state["daemon"] is None
    assert state["trouble"] == ""
    one = only(path)
    assert (one["search"], one["model"], one["state"], one["device"]) == (1, "demo", "queued", None)


def test_how_far_a_study_is(path, queue, submit):
    entry = submit()
    item = queue.register(entry, queue.claim(queue.item(entry), "cpu").starts, Process.current())
    queue.change(item, study="one")
    storage = open_storage(path)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=storage, study_name="one", direction="maximize")
    for value in (3.0, 5.0, 0.0):
        study.tell(study.ask(), value)
    study.ask()
    storage.engine.dispose()
    one = only(path)
    assert (one["state"], one["worker"], one["trials"], one["best_samples_per_s"]) == ("running", os.getpid(), 3, 5.0)


def test_the_first_probe_is_told_while_it_runs(path, queue, submit):
    entry = submit()
    item = queue.register(entry, queue.claim(queue.item(entry), "cpu").starts, Process.current())
    queue.change(item, study="one", worked_s=5.0)
    open_storage(path).engine.dispose()
    with Ledger.open(path) as ledger:
        probe = ledger.begin("one", 0, Configuration(), "probe", "search")
        begun = only(path)["probing_since"]
        assert 0 <= time.time() - begun < 600
        assert (only(path)["trials"], only(path)["best_samples_per_s"]) == (0, None)
        assert only(path)["worked_s"] >= 5.0
        probe.finish(Verdict(Kind.OK))
        assert only(path)["probing_since"] is None


def test_a_process_that_is_gone_is_not_said_to_run(path, queue, submit):
    entry = submit()
    claimed = queue.claim(queue.item(entry), "cpu")
    queue.register(entry, claimed.starts, replace(Process.current(), start_time_ticks=1))
    one = only(path)
    assert (one["state"], one["worker"]) == ("queued", None)
    assert "daemon start" in one["reason"]


@pytest.mark.parametrize("daemon", [None, presence.Daemon(None, 1.0)])
def test_a_search_whose_command_nobody_watches_is_done(path, queue, submit, monkeypatch, daemon):
    monkeypatch.setattr(presence, "find", lambda _: daemon)
    entry = submit(on_done="./train.sh")
    item = queue.register(entry, queue.claim(queue.item(entry), "cpu").starts, Process.current())
    answer = {"chosen": {"measurements": {"samples_per_s": 7.5}}}
    gone = replace(item.worker, start_time_ticks=1)
    queue.change(item, state=State.FINISHING, answer=answer, worker=gone)
    one = only(path)
    assert (one["state"], one["samples_per_s"]) == ("done", 7.5)
    assert "nobody saw how its command ended" in one["reason"]
    assert status(path, unfinished=True)["searches"] == []


def test_a_process_that_starts_is_said_to(path, queue, submit, monkeypatch):
    monkeypatch.setattr(presence, "find", lambda _: presence.Daemon(Process.current(), 1.0))
    queue.claim(queue.item(submit()), "cpu")
    assert (only(path)["state"], only(path)["reason"]) == ("running", "its process is starting")
    assert status(path)["daemon"] == {"pid": os.getpid(), "since": 1.0}


def test_finished_ones_can_be_left_out(path, queue, submit):
    queue.end(queue.item(submit()), State.DONE, "", {"chosen": {"measurements": {"samples_per_s": 7.5}}})
    assert only(path)["samples_per_s"] == 7.5
    assert status(path, unfinished=True)["searches"] == []


def test_a_full_disk_is_said(path, submit, monkeypatch):
    submit()
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=3, f_frsize=4096))
    assert "is full" in status(path)["trouble"]


def test_no_database_is_said_and_none_is_made(path):
    with pytest.raises(DatabaseError, match="no database"):
        status(path)
    assert not path.exists()
