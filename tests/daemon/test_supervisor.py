from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from autobatch.daemon import places, presence, supervisor
from autobatch.daemon.deaths import LARGEST_SETBACKS
from autobatch.daemon.supervisor import Supervisor, worker_command
from autobatch.errors import DatabaseError, MachineError
from autobatch.isolation import proc
from autobatch.store.entry import State, Wish
from autobatch.store.owner import Process

WORK = """
import signal, sys, time
from pathlib import Path
from autobatch.store.database import Database
from autobatch.store.entry import State
from autobatch.store.owner import Process
from autobatch.store.queue import Queue
queue = Queue(Database(Path(sys.argv[1])))
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
item = queue.register(int(sys.argv[2]), int(sys.argv[3]), Process.current())
if item is None:
    sys.exit("late")
if {lasts}:
    while not told:
        time.sleep(0.02)
    queue.put_back(item, "interrupted")
else:
    queue.end(item, State.DONE, "", {{"chosen": None}})
"""


def fake(*, lasts: bool):
    """A worker that registers, then waits to be told to end, or is done at once."""
    code = WORK.format(lasts=lasts)
    return lambda database, item, _: [sys.executable, "-c", code, str(database), str(item.entry_id), str(item.starts)]


def dies(*_):
    return [sys.executable, "-c", "raise SystemExit(1)"]


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """No GPU, nobody else on the processors, and a queue that may be worked in any thread."""
    monkeypatch.setattr(supervisor, "list_gpus", list)
    monkeypatch.setattr(presence, "search_on", lambda _: "")
    monkeypatch.setattr(supervisor.signal, "signal", lambda *_: None)


@pytest.fixture
def daemon(path):
    """Run a supervisor in a thread; call it with the worker's command, and end it by `signals`."""
    running: list[tuple[Supervisor, threading.Thread]] = []

    def start(command):
        made = Supervisor(path, tick_s=0.02, command=command)
        thread = threading.Thread(target=made.run, daemon=True)
        thread.start()
        running.append((made, thread))
        return made, thread

    yield start
    for made, thread in running:
        made._signals = 2
        thread.join(30)
        assert not thread.is_alive()


def wait(check, limit_s=30):
    deadline = time.monotonic() + limit_s
    while not (found := check()):
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)
    return found


def test_entries_are_worked_one_after_the_other(queue, submit, daemon):
    entries = [submit(), submit()]
    daemon(fake(lasts=False))
    wait(lambda: all(item.state is State.DONE for item in queue.items()))
    first, second = map(queue.item, entries)
    assert first.ended_at <= second.started_at


def test_the_first_signal_lets_a_worker_end_and_the_entry_waits_for_the_next_daemon(queue, submit, daemon):
    entry = submit()
    made, thread = daemon(fake(lasts=True))
    worker = wait(lambda: queue.item(entry).worker)
    made._signals = 1
    thread.join(30)
    assert not worker.is_alive
    assert queue.item(entry).state is State.QUEUED
    daemon(fake(lasts=False))
    wait(lambda: queue.item(entry).state is State.DONE)


def test_the_second_signal_kills_what_does_not_end(queue, submit, daemon, monkeypatch):
    monkeypatch.setattr(supervisor, "KILL_S", 0.2)
    deaf = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)" + WORK.format(lasts=True).replace(
        "lambda *_: told.append(1)", "signal.SIG_IGN"
    )
    entry = submit()
    made, thread = daemon(lambda d, i, _: [sys.executable, "-c", deaf, str(d), str(i.entry_id), str(i.starts)])
    worker = wait(lambda: queue.item(entry).worker)
    made._signals = 2
    thread.join(30)
    assert not thread.is_alive()
    assert not worker.is_alive


def test_a_worker_that_dies_is_given_up_at_last_and_others_go_on(queue, submit, daemon, monkeypatch):
    monkeypatch.setattr("autobatch.store.queue.BACK_OFF_S", (0.0, 0.0))
    bad, good = submit(), submit()
    well = fake(lasts=False)
    daemon(lambda d, item, shares: (dies if item.entry_id == bad else well)(d, item, shares))
    wait(lambda: all(item.is_over for item in queue.items()))
    assert queue.item(bad).state is State.FAILED
    assert f"died {LARGEST_SETBACKS} times" in queue.item(bad).reason
    assert queue.item(good).state is State.DONE


def test_a_setback_is_waited_out(queue, submit, daemon):
    entry = submit()
    daemon(dies)
    wait(lambda: queue.item(entry).setbacks == 1)
    time.sleep(0.3)
    item = queue.item(entry)
    assert (item.starts, item.state) == (1, State.QUEUED)
    assert item.retry_at > time.time()


def test_a_setback_noted_before_the_clock_was_set_back_keeps_nothing(queue, submit, daemon):
    entry = submit()
    queue.change(queue.item(entry), retry_at=time.time() + 86_400)
    daemon(fake(lasts=False))
    wait(lambda: queue.item(entry).is_over)
    assert queue.item(entry).state is State.DONE


def test_a_living_worker_of_a_dead_daemon_is_adopted(queue, submit, daemon):
    entry = submit()
    claimed = queue.claim(queue.item(entry), "cpu")
    command = fake(lasts=True)(queue._database.path, claimed, 1)
    worker = subprocess.Popen(command)
    wait(lambda: queue.item(entry).worker)
    made, thread = daemon(dies)
    time.sleep(0.2)
    assert queue.item(entry).starts == 1
    made._signals = 1
    wait(lambda: worker.poll() is not None)
    thread.join(30)
    assert queue.item(entry).state is State.QUEUED


def test_what_a_dead_worker_left_running_is_ended(queue, submit, daemon):
    entry = submit()
    claimed = queue.claim(queue.item(entry), "cpu")
    gone = subprocess.Popen(["true"])
    process = replace(Process.current(), pid=gone.pid, start_time_ticks=proc.stat(gone.pid).start_ticks)
    orphan = subprocess.Popen(["sleep", "60"], env={**os.environ, "AUTOBATCH_TREE": f"{gone.pid}-x"})
    gone.wait()
    queue.register(entry, claimed.starts, process)
    daemon(fake(lasts=False))
    wait(lambda: queue.item(entry).state is State.DONE)
    assert orphan.wait(5) == -signal.SIGKILL


def test_a_restart_of_the_machine_is_no_setback(queue, submit, daemon):
    entry = submit()
    claimed = queue.claim(queue.item(entry), "cpu")
    queue.register(entry, claimed.starts, replace(Process.current(), boot_id="another"))
    daemon(fake(lasts=False))
    wait(lambda: queue.item(entry).state is State.DONE)
    assert queue.item(entry).setbacks == 0


def test_a_start_that_a_killed_daemon_left_half_done_is_no_setback(queue, submit, daemon):
    entry = submit()
    queue.claim(queue.item(entry), "cpu")
    daemon(fake(lasts=False))
    wait(lambda: queue.item(entry).state is State.DONE)
    assert (queue.item(entry).setbacks, queue.item(entry).starts) == (0, 2)


def test_a_command_whose_watcher_died_is_not_run_again(queue, submit, daemon):
    entry = submit(on_done="train")
    claimed = queue.claim(queue.item(entry), "cpu")
    item = queue.register(entry, claimed.starts, replace(Process.current(), start_time_ticks=1))
    queue.change(item, state=State.FINISHING, answer={"chosen": {"trial": 1}})
    daemon(dies)
    wait(lambda: queue.item(entry).state is State.DONE)
    assert queue.item(entry).answer == {"chosen": {"trial": 1}}
    assert "nobody saw how its command ended" in queue.item(entry).reason


def test_a_pause_before_the_start_holds_until_it_is_taken_back(queue, submit, daemon):
    entry = submit()
    queue.want(entry, Wish.PAUSE)
    daemon(fake(lasts=False))
    time.sleep(0.2)
    assert queue.item(entry).starts == 0
    queue.want(entry, Wish.RUN)
    wait(lambda: queue.item(entry).state is State.DONE)


def test_the_reason_for_waiting_is_written(queue, submit, daemon, monkeypatch):
    monkeypatch.setattr(presence, "search_on", lambda _: "cpu is in use by process 7.")
    entry = submit()
    daemon(dies)
    wait(lambda: queue.item(entry).reason == "waits: cpu is in use by process 7.")
    assert queue.item(entry).starts == 0


def test_a_process_that_cannot_be_started_is_said(queue, submit, daemon):
    entry = submit()
    daemon(lambda *_: ["/nowhere/python"])
    wait(lambda: queue.item(entry).setbacks)
    assert "cannot be started" in queue.item(entry).reason


def test_a_full_disk_is_said_once_and_waited_out(queue, submit, daemon, monkeypatch, capfd):
    full, usual = [True], Supervisor._tick

    def tick(self):
        if full:
            raise DatabaseError("The database could not be written: the disk is full.", "Free some space.")
        usual(self)

    monkeypatch.setattr(Supervisor, "_tick", tick)
    entry = submit()
    daemon(fake(lasts=False))
    time.sleep(0.3)
    full.clear()
    wait(lambda: queue.item(entry).state is State.DONE)
    said = capfd.readouterr().err
    assert said.count("the disk is full") == 1
    assert "goes on" in said


def test_a_replaced_database_ends_the_daemon(path):
    made, errors = Supervisor(path, tick_s=0.02), []

    def run():
        try:
            made.run()
        except DatabaseError as error:
            errors.append(error.what)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    wait(lambda: presence.find(path))
    time.sleep(0.1)
    path.unlink()
    thread.join(10)
    assert "deleted or replaced" in errors[0]


def test_a_second_daemon_and_a_strangers_file_are_refused(path, daemon, tmp_path):
    daemon(dies)
    wait(lambda: presence.find(path))
    with pytest.raises(MachineError, match="works on"):
        Supervisor(path).run()
    (tmp_path / "other.db").write_text("something else")
    with pytest.raises(DatabaseError):
        Supervisor(tmp_path / "other.db").run()
    with pytest.raises(DatabaseError, match="does not exist"):
        Supervisor(tmp_path / "nowhere" / "trials.db").run()


def test_the_command_names_the_start(queue, submit, path):
    item = queue.claim(queue.item(submit()), "cpu")
    assert worker_command(path, item, 2)[-4:] == [str(path), "1", "1", "2"]
    assert places.log(path, 1).name == "1.log"
