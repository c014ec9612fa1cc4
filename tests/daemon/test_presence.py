import os
import signal
import subprocess
import sys

import pytest

from autobatch.daemon import places, presence
from autobatch.errors import MachineError
from autobatch.store.database import Database
from autobatch.store.lock import GpuLock

HOLD = """
import sys, time
from autobatch.daemon import presence
from autobatch.store.database import Database
database = Database(sys.argv[1])
presence.take(database)
print("taken", flush=True)
time.sleep(60)
"""


@pytest.fixture
def daemon(path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "taken\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_looking_makes_nothing_and_finds_nobody(path):
    assert presence.find(path) is None
    assert not list(path.parent.iterdir())


def test_a_daemon_is_found_with_its_process(path, daemon):
    found = presence.find(path)
    assert found.pid == daemon.pid
    assert found.since > 0


def test_a_second_daemon_is_refused_and_told_who(path, daemon):
    database = Database(path)
    with pytest.raises(MachineError, match=f"process {daemon.pid}"):
        presence.take(database)
    database.close()


def test_looking_does_not_keep_a_daemon_from_starting(path):
    database, looked = Database(path), Database(path)
    presence.find(path)
    presence.take(database)
    looked.close()
    assert presence.find(path).pid == os.getpid()
    database.close()
    assert presence.find(path) is None


def test_a_dead_daemon_leaves_nothing_stale(path, daemon):
    daemon.kill()
    daemon.wait()
    assert places.record(path).exists()
    assert presence.find(path) is None


def test_an_older_daemons_record_is_not_taken_for_the_new_one(path, daemon):
    places.record(path).write_text(places.record(path).read_text().replace(f'"pid": {daemon.pid}', '"pid": 1'))
    assert presence.find(path).pid is None


def test_who_searches_on_a_device_is_said():
    identity = f"test-{os.getpid()}"
    lock = GpuLock(identity)
    try:
        assert presence.search_on(identity) == ""
        with lock:
            assert f"process {os.getpid()}" in presence.search_on(identity)
        assert presence.search_on(identity) == ""
    finally:
        lock.path.unlink()


def test_what_a_dead_search_left_behind_is_nobody(tmp_path):
    identity = f"test-orphan-{os.getpid()}"
    lock = GpuLock(identity)
    code = (
        "import subprocess, sys; from autobatch.store.lock import GpuLock\n"
        "lock = GpuLock(sys.argv[1]); lock.acquire()\n"
        "print(subprocess.Popen(['sleep', '60'], stdout=-3, stderr=-3, pass_fds=[lock.fileno()]).pid)"
    )
    command = [sys.executable, "-c", code, identity]
    orphan = int(subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout)
    try:
        with pytest.raises(MachineError, match="left process"):
            lock.acquire()
        assert presence.search_on(identity) == ""
    finally:
        os.kill(orphan, signal.SIGKILL)
        lock.path.unlink()
