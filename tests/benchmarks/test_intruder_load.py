"""The foreign process, really run, on the CPU."""

import subprocess
import time

import pytest

from benchmarks.intruder_load import Intruder


@pytest.fixture
def log(tmp_path):
    return tmp_path / "intruder.log"


def test_it_waits_to_be_let_in_holds_computes_and_leaves(log):
    with Intruder("cpu", 0.01, log, longest_s=600, seated=True) as intruder:
        intruder.wait_until_ready()
        assert log.read_text() == "ready\n"
        before = time.time()
        assert before <= intruder.enter() <= time.time()
        assert log.read_text().splitlines()[1] == "holds 0.0 GiB"
        assert intruder.leave() > before
    last = log.read_text().splitlines()[-1].split()
    assert (last[0], last[2]) == ("computed", "products")
    assert int(last[1]) >= 0
    with pytest.raises(RuntimeError, match="ended with 0"):
        intruder.leave()


def test_one_that_cannot_have_its_memory_says_why(log):
    with Intruder("cpu", -1.0, log, longest_s=600) as intruder:
        intruder.wait_until_ready()
        with pytest.raises(RuntimeError, match="RuntimeError"):
            intruder.enter()


def stand_in(monkeypatch, code):
    """Run some other Python code in the intruder's place."""
    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda command, **options: real([command[0], "-c", code], **options))


def test_one_that_says_nothing_is_not_waited_for_for_ever(log, monkeypatch):
    stand_in(monkeypatch, "import time; time.sleep(600)")
    monkeypatch.setattr("benchmarks.intruder_load.READY_S", 0.2)
    with Intruder("cpu", 1.0, log, longest_s=600) as intruder, pytest.raises(TimeoutError, match="did not say 'ready'"):
        intruder.wait_until_ready()
    assert intruder._process.returncode == -9


def test_it_ends_with_the_one_who_started_it(log, monkeypatch):
    stand_in(monkeypatch, "import os; os.read(0, 1); print('bye')")
    with Intruder("cpu", 1.0, log, longest_s=600) as intruder:
        intruder._close_input()
        assert intruder._process.wait(60) == 0
    assert log.read_text() == "bye\n"
