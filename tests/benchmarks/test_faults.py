"""The fault benchmark in short: every kind of fault, few of each."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from autobatch.store import recovery
from autobatch.store.journal import Entry
from autobatch.store.orphans import kill_orphans
from benchmarks.faults import Line, __main__, database, disk, hostile, kills, lock, searches

needs_strace = pytest.mark.skipif(
    shutil.which("strace") is None, reason="faults in system calls are injected by strace"
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root")


def check(line: Line) -> None:
    assert line.injected > 0
    assert (line.right, line.lost) == (line.injected, 0), line.notes


@needs_strace
def test_killed_at_system_calls(tmp_path):
    check(kills.at_every_syscall(tmp_path, scale=0.015))


def test_killed_at_random_moments(tmp_path):
    check(kills.at_random(tmp_path / "x", count=3))


@needs_root
def test_killed_with_its_whole_namespace(tmp_path):
    check(kills.whole_namespaces(tmp_path / "x", count=3))


@needs_strace
@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_a_disk_that_fails(tmp_path, error):
    check(disk.at_every_write(tmp_path, error, scale=0.015))


@needs_root
def test_a_disk_that_is_full(tmp_path):
    check(disk.full(tmp_path))


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return database.make(tmp_path_factory.mktemp("sample"), probes=8)


def test_a_database_cut_anywhere(tmp_path, sample):
    check(database.truncated(sample, tmp_path / "x"))
    check(database.log_truncated(sample, tmp_path / "y"))


def test_a_database_altered_anywhere(tmp_path, sample):
    check(database.flipped(sample, tmp_path / "x", count=100))


def test_a_database_whose_files_are_lost_or_in_use(tmp_path, sample):
    check(database.side_files(sample, tmp_path / "x"))
    check(database.in_use(sample, tmp_path / "y"))
    check(database.foreign(tmp_path / "z"))


@pytest.mark.parametrize("form", hostile.formats(), ids=lambda form: form.name)
def test_malformed_files(tmp_path, form):
    check(hostile.fuzz(form, tmp_path, count=150))


@pytest.mark.parametrize("searches", [2, 8])
def test_searches_that_contend_for_a_gpu(tmp_path, searches):
    check(lock.contend(tmp_path / "x", searches, starts=25))


def test_a_lock_that_does_not_outlive_its_owner_would_be_noticed(tmp_path, monkeypatch):
    def fork_probe_without_lock(board, life_s):
        pid = os.fork()
        if pid == 0:
            os.closerange(3, 1000)
            lock.time.sleep(life_s)
            os._exit(0)
        board.claim(2, pid)

    monkeypatch.setattr(lock, "_fork_probe", fork_probe_without_lock)
    assert lock.contend(tmp_path / "x", 4, starts=50).lost > 0


def test_the_command_runs_a_part_and_writes_json(tmp_path):
    command = [
        sys.executable,
        "-m",
        "benchmarks.faults",
        "lock",
        "--scale",
        "0.002",
        "--json",
        str(tmp_path / "out.json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    report = json.loads((tmp_path / "out.json").read_text())
    assert len(report["lines"]) == len(done.stdout.splitlines()) - 1 == 7
    assert report["machine"]["sqlite"]
    assert "classification" not in report["command"]


def test_every_part_is_found():
    assert {"database", "disk", "hostile", "kills", "lock"} <= set(__main__.parts())


def test_the_real_search_killed_and_gone_on_with(tmp_path):
    check(searches.killed_searches(tmp_path / "x", kills=3))


def test_an_acknowledgement_that_came_too_early_would_be_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(Entry, "finish", lambda *_: None)
    assert kills.at_random(tmp_path / "x", count=2).lost > 0


def test_orphans_that_were_left_would_be_noticed(tmp_path, monkeypatch):
    dead = []
    monkeypatch.setattr(recovery, "kill_orphans", lambda owner, _: (dead.append(owner), ([], []))[1])
    line = kills.at_random(tmp_path / "x", count=3, probe_s=1.0)
    for owner in dead:
        kill_orphans(owner, None)
    assert line.lost > 0
    assert "orphans" in line.notes
