import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from autobatch.daemon import control, presence
from autobatch.daemon.standing import status
from autobatch.isolation import proc

OPTIONS = [
    "--model=demo",
    "--device=cpu",
    "--budget=5m",
    "--sampler=grid",
    "--study=once",
    "--fix=precision=fp32",
    "--fix=gradient_checkpointing=false",
    "--fix=dataloader_num_workers=0",
    "--fix=per_device_eval_batch_size=8",
    "--search=per_device_train_batch_size=16",
]


def autobatch(*arguments, folder):
    command = [sys.executable, "-m", "autobatch", *arguments, "--db", "trials.db"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=120).stdout


def wait(path, check, limit_s):
    deadline = time.monotonic() + limit_s
    while not check(found := status(path)["searches"][0]):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


def naming(path):
    """Processes other than this one whose command line names the database."""
    found = []
    for folder in proc.PROC.glob("[0-9]*"):
        try:
            if str(path).encode() in (folder / "cmdline").read_bytes() and int(folder.name) != os.getpid():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.timeout(290)
def test_a_search_finishes_once_though_its_daemon_is_killed(path):
    said = autobatch("search", *OPTIONS, "--detach", "--on-done=echo $AUTOBATCH_STUDY in $PWD", folder=path.parent)
    assert said.startswith("Queued as search 1")
    try:
        running = wait(path, lambda one: one["probing_since"], 120)
        assert (running["state"], running["device"]) == ("running", "cpu")
        os.kill(presence.find(path).pid, signal.SIGKILL)
        assert "daemon: none" in autobatch("status", folder=path.parent)
        assert status(path)["searches"][0]["state"] == "running"
        control.start(path)
        done = wait(path, lambda one: one["state"] not in {"running", "finishing"}, 240)
        assert (done["state"], done["starts"]) == ("done", 1), done
        assert done["samples_per_s"] > 0
        assert (path.parent / "trials.db.queue/1.on-done.log").read_text() == f"once in {path.parent}\n"
        with sqlite3.connect(path) as connection:
            probed = connection.execute("SELECT purpose, count(*) FROM ab_probes GROUP BY purpose, digest").fetchall()
        assert probed == [("confirm", 1), ("probe", 1)]
        assert (path.parent / "trials.db.probes").stat().st_mode & 0o077 == 0
    finally:
        control.stop(path, now=True)
        deadline = time.monotonic() + 30
        while (left := naming(path)) and time.monotonic() < deadline:
            time.sleep(0.1)
    assert left == []
