import os
import signal
import threading
import time

import pytest

from autobatch.daemon import on_done
from autobatch.daemon.on_done import Interrupts
from autobatch.isolation import proc


@pytest.fixture
def interrupts():
    """What a worker counts signals with."""
    found = Interrupts()
    before = signal.signal(signal.SIGINT, found.note)
    yield found
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def run_on_done(interrupts):
    """Run a command as a worker does."""
    return lambda command, log, facts: on_done.run_on_done(command, log, facts, interrupts)


def left(mark):
    """Return what still runs with a mark some moments later."""
    deadline = time.monotonic() + 5
    while proc.marked(f"AUTOBATCH_TEST_MARK={mark}") and time.monotonic() < deadline:
        time.sleep(0.05)
    return proc.marked(f"AUTOBATCH_TEST_MARK={mark}")


def test_output_is_kept_and_the_facts_are_given(tmp_path, run_on_done):
    log = tmp_path / "queue" / "1.on-done.log"
    command = "echo out $AUTOBATCH_STUDY; echo err >&2"
    assert run_on_done(command, log, {"AUTOBATCH_STUDY": "kobart"}) == ""
    assert log.read_text() == "out kobart\nerr\n"


def test_a_failure_is_said_with_its_log(tmp_path, run_on_done):
    log = tmp_path / "log"
    assert run_on_done("exit 3", log, {}) == f"its command exited with 3: see {log}"


def test_a_log_that_cannot_be_written_is_said(tmp_path, run_on_done):
    assert "was not run" in run_on_done("true", tmp_path / "nowhere" / "deep" / "log", {})


@pytest.mark.timeout(60)
def test_a_person_ends_it_with_all_it_started(tmp_path, run_on_done):
    mark = f"sleep {60 + os.getpid() / 1e6}"
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    said = run_on_done(f"{mark} & {mark}", tmp_path / "log", {"AUTOBATCH_TEST_MARK": mark})
    timer.join()
    assert "ended by a person" in said
    assert left(mark) == []


@pytest.mark.timeout(60)
def test_a_person_who_asks_twice_need_not_wait(tmp_path, run_on_done):
    mark, begun = f"twice {os.getpid()}", time.monotonic()
    for after_s in (0.5, 1.0):
        threading.Timer(after_s, os.kill, (os.getpid(), signal.SIGINT)).start()
    deaf = "trap '' TERM; for i in 1 2 3 4 5 6 7 8 9; do sleep 1; done"
    assert "ended by a person" in run_on_done(deaf, tmp_path / "log", {"AUTOBATCH_TEST_MARK": mark})
    assert time.monotonic() - begun < on_done.END_S / 2
    assert left(mark) == []


def test_what_is_ended_before_it_began_does_not_run(tmp_path, run_on_done):
    os.kill(os.getpid(), signal.SIGINT)
    assert "was not run" in run_on_done("true", tmp_path / "log", {})
