import os
import signal
import threading
import time

import pytest

from autobatch.daemon.on_done import run_on_done
from autobatch.isolation import proc


def test_output_is_kept_and_the_facts_are_given(tmp_path):
    log = tmp_path / "queue" / "1.on-done.log"
    command = "echo out $AUTOBATCH_STUDY; echo err >&2"
    assert run_on_done(command, log, {"AUTOBATCH_STUDY": "kobart"}) == ""
    assert log.read_text() == "out kobart\nerr\n"


def test_a_failure_is_said_with_its_log(tmp_path):
    log = tmp_path / "log"
    assert run_on_done("exit 3", log, {}) == f"its command exited with 3: see {log}"


def test_a_log_that_cannot_be_written_is_said(tmp_path):
    assert "was not run" in run_on_done("true", tmp_path / "nowhere" / "deep" / "log", {})


@pytest.mark.timeout(60)
def test_a_person_ends_it_with_all_it_started(tmp_path):
    mark = f"sleep {60 + os.getpid() / 1e6}"
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    said = run_on_done(f"{mark} & {mark}", tmp_path / "log", {"AUTOBATCH_TEST_MARK": mark})
    timer.join()
    assert "ended by a person" in said
    deadline = time.monotonic() + 5
    while proc.marked(f"AUTOBATCH_TEST_MARK={mark}") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert proc.marked(f"AUTOBATCH_TEST_MARK={mark}") == []
