"""What becomes of a script's process and its children; a short module stands in for the look, slow to start."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from autobatch.isolation import proc
from autobatch.probe import script_process
from autobatch.probe.script_process import run

LONG_S = 60
HELPER = """
import pathlib, subprocess, sys
child = subprocess.Popen(["sleep", "300"], start_new_session=True)
pathlib.Path(sys.argv[1], "child").write_text(str(child.pid))
"""
DEAF = """
import signal, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
"""
WAIT = """
pathlib.Path(sys.argv[1], "ready").touch()
import time
time.sleep(300)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Make a module that a process can run."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def module(source):
        (tmp_path / "looker.py").write_text(source)
        return [sys.executable, "-m", "looker"]

    return module


def gone(pid):
    now = proc.stat(pid)
    return now is None or now.state == "Z"


def until(holds):
    deadline = time.monotonic() + LONG_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def child_of(folder):
    return int((folder / "child").read_text())


def test_a_child_left_behind_is_neither_waited_for_nor_left(module, tmp_path):
    assert run(module(HELPER), tmp_path, LONG_S) == 0

    assert gone(child_of(tmp_path))


def test_a_script_that_is_too_slow_is_ended_with_its_children(module, tmp_path, monkeypatch):
    monkeypatch.setattr(script_process.secrets, "token_hex", lambda _: "slow")
    with pytest.raises(subprocess.TimeoutExpired):
        run(module(DEAF + HELPER + WAIT), tmp_path, 3.0)

    assert not proc.marked(f"{script_process.MARK}={os.getpid()}-slow")


@pytest.mark.parametrize(
    ("number", "raised"),
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit), (signal.SIGHUP, SystemExit)],
)
def test_a_signal_ends_the_script_and_its_children(module, tmp_path, number, raised):
    def interrupt():
        until((tmp_path / "ready").exists)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(raised) as ended:
        run(module(DEAF + HELPER + WAIT), tmp_path, LONG_S)

    if raised is SystemExit:
        assert ended.value.code == 128 + number
    assert gone(child_of(tmp_path))
    assert signal.getsignal(number) is (signal.default_int_handler if raised is KeyboardInterrupt else signal.SIG_DFL)


def test_a_signal_that_somebody_heeds_is_left_to_them(module, tmp_path):
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        status = run(module("import os, signal\nos.kill(os.getppid(), signal.SIGTERM)\n"), tmp_path, LONG_S)
    finally:
        signal.signal(signal.SIGTERM, before)

    assert (status, heard) == (0, [signal.SIGTERM])


def test_what_it_says_is_in_the_log(module, tmp_path):
    assert run(module("import sys\nprint('out')\nsys.exit('err')\n"), tmp_path, LONG_S) == 1

    assert sorted((tmp_path / "log.txt").read_text().splitlines()) == ["err", "out"]
