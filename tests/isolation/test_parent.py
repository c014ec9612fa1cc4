from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autobatch.errors import MachineError
from autobatch.isolation import proc
from autobatch.isolation.parent import PreloadedParent

CLIENT = """
import sys, time
from pathlib import Path
from autobatch.isolation.parent import PreloadedParent
parent = PreloadedParent(Path(sys.argv[1]), bare=True)
parent.ensure()
child = parent.fork({"folder": sys.argv[1], "entry": "entries:scatter", "environment": {}})
parent.go(child)
while not Path(sys.argv[1], "progress.json").exists():
    time.sleep(0.01)
print(parent.mark, flush=True)
time.sleep(60)
"""


def order(folder, entry, **environment):
    return {"folder": str(folder), "entry": f"entries:{entry}", "environment": environment}


def ended(parent, pid, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        message = parent.wait(0.5)
        if message is not None and message.get("exited") == pid:
            return message
    raise AssertionError("it did not end")


def run(parent, folder, entry, **environment):
    pid = parent.fork(order(folder, entry, **environment))
    parent.go(pid)
    return ended(parent, pid)["status"]


@pytest.fixture
def parent(bare_parent):
    bare_parent.ensure()
    return bare_parent


@pytest.mark.parametrize(("entry", "status"), [("succeed", 0), ("exit_with_status", 3), ("raise_before_outcome", 1)])
def test_the_exit_status_comes_back(parent, tmp_path, entry, status):
    assert run(parent, tmp_path, entry) == status


def test_output_and_tracebacks_go_to_the_log(parent, tmp_path):
    run(parent, tmp_path, "succeed")
    run(parent, tmp_path, "raise_before_outcome")
    log = (tmp_path / "log.txt").read_text()
    assert "said on standard output" in log
    assert "LookupError: nobody caught this" in log


def test_its_log_is_private(tmp_path):
    parent = PreloadedParent(tmp_path, bare=True)
    before = os.umask(0)
    try:
        parent.start()
    finally:
        os.umask(before)
        parent.close()
    assert stat.S_IMODE((tmp_path / "preload.log").stat().st_mode) == 0o600


def test_a_child_waits_at_its_gate(parent, tmp_path):
    pid = parent.fork(order(tmp_path, "succeed"))
    assert parent.wait(0.3) is None
    assert not (tmp_path / "entered.json").exists()
    parent.go(pid)
    assert ended(parent, pid)["status"] == 0


def test_a_child_that_dies_at_its_gate_is_reported(parent, tmp_path):
    pid = parent.fork(order(tmp_path, "succeed"))
    os.kill(pid, signal.SIGKILL)
    assert ended(parent, pid)["status"] == -9


def test_a_parent_that_was_killed_is_started_again(tmp_path):
    parent = PreloadedParent(tmp_path, bare=True)
    try:
        parent.ensure()
        first = parent.pid
        os.kill(first, signal.SIGKILL)
        assert run(parent, tmp_path, "succeed") == 0
        assert parent.pid != first
    finally:
        parent.close()


def test_a_parent_that_grew_is_replaced(tmp_path, monkeypatch):
    parent = PreloadedParent(tmp_path, bare=True)
    try:
        parent.ensure()
        first = parent.pid
        monkeypatch.setattr(proc, "resident_bytes", lambda _: 1 << 40)
        parent.ensure()
        assert parent.pid != first
    finally:
        parent.close()


def test_a_parent_that_cannot_start_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(MachineError, match="said nothing") as caught:
        PreloadedParent(tmp_path, bare=True).ensure()
    assert str(tmp_path) in caught.value.do


def test_close_ends_children_and_escapees(tmp_path):
    parent = PreloadedParent(tmp_path, bare=True)
    parent.ensure()
    parent.go(parent.fork(order(tmp_path, "scatter")))
    while not (tmp_path / "progress.json").exists():
        time.sleep(0.01)
    assert len(proc.marked(parent.mark)) >= 4
    parent.close()
    assert proc.marked(parent.mark) == []


def test_nothing_outlives_a_client_that_is_killed(tmp_path):
    client = subprocess.Popen([sys.executable, "-c", CLIENT, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    mark = client.stdout.readline().strip()
    assert len(proc.marked(mark)) >= 4
    client.kill()
    client.wait()
    deadline = time.monotonic() + 10
    while proc.marked(mark) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert proc.marked(mark) == []


def test_a_descriptor_to_be_kept_is_open_in_the_child(tmp_path):
    descriptor = os.open(Path(tmp_path, "lock"), os.O_CREAT | os.O_RDWR)
    parent = PreloadedParent(tmp_path, bare=True, keep_open=(descriptor,))
    try:
        parent.ensure()
        assert run(parent, tmp_path, "show_descriptor", SHOWN_DESCRIPTOR=str(descriptor)) == 0
    finally:
        parent.close()
        os.close(descriptor)
