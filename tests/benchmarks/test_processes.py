"""Commands under a deadline, and functions in forks."""

import os
import signal
import sys
import time

import pytest

from autobatch.isolation import proc
from benchmarks import forks, processes

LONG_S = 60.0


def test_a_command_that_ends_by_itself_tells_what_it_said():
    done = processes.run(["-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"], LONG_S)
    assert done == processes.Done(3, "out\n", "err\n", timed_out=False)


def test_a_command_whose_time_is_up_can_still_answer():
    code = "import time\ntry:\n    time.sleep(600)\nexcept KeyboardInterrupt:\n    print('so far')"
    running = processes.start(["-c", code])
    while proc.stat(running.process.pid).state != "S":  # asleep, so that the interrupt does not come before it can
        time.sleep(0.05)
    done = running.finish(1.0)
    assert done.timed_out
    assert (done.status, done.output) in {(0, "so far\n"), (-signal.SIGINT, "")}


def test_what_does_not_end_is_killed_with_what_it_started(tmp_path):
    code = "import signal, subprocess, time; signal.signal(signal.SIGINT, signal.SIG_IGN);"
    code += "subprocess.Popen(['sleep', '600'], start_new_session=True); open('on', 'w'); time.sleep(600)"
    running = processes.start(["-c", code], tmp_path)
    while not (tmp_path / "on").exists():
        time.sleep(0.05)
    below = proc.descendants(running.process.pid)
    assert not processes.end_within(running.process, 0.0, grace_s=0.1)
    assert running.process.returncode == -signal.SIGKILL
    deadline = time.monotonic() + LONG_S
    while any(proc.stat(pid) is not None and proc.stat(pid).state != "Z" for pid in below):
        assert time.monotonic() < deadline


def test_the_program_is_found_from_any_folder(tmp_path):
    done = processes.run(["-c", "import benchmarks.forks, os; print(os.getcwd())"], LONG_S, tmp_path)
    assert (done.output.strip(), done.status) == (str(tmp_path), 0)


@pytest.mark.parametrize(
    ("function", "status", "said"),
    [
        (lambda: sys.stdout.write("well"), 0, "well"),
        (lambda: sys.exit(4), 4, ""),
        (lambda: sys.exit("in words"), 1, "in words"),
        (lambda: 1 / 0, 1, "ZeroDivisionError"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), -signal.SIGKILL, ""),
    ],
)
def test_a_fork_ends_with_the_status_of_its_function(tmp_path, function, status, said):
    assert forks.in_fork(function, tmp_path / "log", LONG_S) == status
    assert said in forks.tail(tmp_path / "log")


def test_a_fork_whose_time_is_up_goes_with_all_that_it_started(tmp_path):
    def start_and_wait():
        pid = os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "600")
        (tmp_path / "pid").write_text(str(pid))
        time.sleep(600)

    assert forks.in_fork(start_and_wait, tmp_path / "log", 2.0) is None
    # on a slow machine it may not have come to it
    text = (tmp_path / "pid").read_text() if (tmp_path / "pid").exists() else ""
    deadline = time.monotonic() + LONG_S
    while text and (now := proc.stat(int(text))) is not None and now.state != "Z":
        assert time.monotonic() < deadline
