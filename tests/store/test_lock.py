from __future__ import annotations

import contextlib
import errno
import os
import select
import subprocess
import sys

import pytest

from autobatch.errors import EXIT_MACHINE, MachineError
from autobatch.store import lock as locks
from autobatch.store.lock import GpuLock

GPU = "GPU-8b1e7a2c-0000-1111-2222-333344445555"
SEARCH = """
import subprocess, sys
from pathlib import Path
from autobatch.store.lock import GpuLock
lock = GpuLock(sys.argv[1], Path(sys.argv[2]))
lock.acquire()
probe = subprocess.Popen(["sleep", "600"], pass_fds=[lock.fileno()])
print(probe.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "locks"


@pytest.fixture
def search(folder):
    """A search with a probe, in another process."""
    command = [sys.executable, "-c", SEARCH, GPU, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.probe = int(process.stdout.readline())
        yield process
        process.kill()
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.probe, 9)


def refusal(folder):
    with pytest.raises(MachineError) as caught:
        GpuLock(GPU, folder).acquire()
    assert caught.value.exit_code == EXIT_MACHINE
    return caught.value.what


def test_one_search_at_a_time_and_the_next_after_it(folder):
    with GpuLock(GPU, folder) as held:
        assert held.path.stat().st_mode & 0o077 == 0
        assert f"process {os.getpid()}" in refusal(folder)
        with GpuLock("GPU-another", folder):
            pass
    with GpuLock(GPU, folder):
        pass


def test_the_message_says_who_since_when_and_with_what_command(search, folder):
    said = refusal(folder)
    assert f"process {search.pid} since 20" in said
    assert sys.executable in said


def test_a_killed_searchs_probe_keeps_the_lock_until_it_is_gone(search, folder):
    search.kill()
    search.wait()
    said = refusal(folder)
    assert f"has left process {search.probe} behind" in said
    probe = os.pidfd_open(search.probe)
    os.kill(search.probe, 9)
    select.select([probe], [], [], 10)
    os.close(probe)
    with GpuLock(GPU, folder):
        pass


@pytest.mark.usefixtures("search")
def test_a_record_that_cannot_be_read_still_refuses(folder):
    GpuLock(GPU, folder).path.write_text("{" * 5000)
    assert f"{GPU} is in use by another process" in refusal(folder)


def test_a_lock_file_deleted_under_us_is_not_taken_for_the_lock(folder, monkeypatch):
    lock = GpuLock(GPU, folder)
    folder.mkdir(mode=0o700)
    flock, losses = locks.fcntl.flock, [1, 1]

    def lose(descriptor, how):
        flock(descriptor, how)
        if losses:
            losses.pop()
            lock.path.unlink()

    monkeypatch.setattr(locks.fcntl, "flock", lose)
    with lock:
        monkeypatch.undo()
        refusal(folder)


@pytest.mark.parametrize("identity", ["../../etc/passwd", "a/b", "GPU 1", "지피유"])
def test_any_identity_is_a_file_in_the_folder(folder, identity):
    with GpuLock(identity, folder) as lock:
        assert lock.path.parent == folder


def test_a_folder_that_others_may_write_is_refused(folder):
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(MachineError, match="not this user's own"):
        GpuLock(GPU, folder).acquire()


def test_a_link_in_place_of_the_folder_is_refused(folder, tmp_path):
    folder.symlink_to(tmp_path)
    with pytest.raises(MachineError):
        GpuLock(GPU, folder).acquire()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_folder_that_is_full_or_read_only_is_an_error(folder, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(locks.os, "open", refuse)
    assert os.strerror(code) in refusal(folder)


def test_a_lock_whose_record_a_full_disk_refuses_is_held_all_the_same(folder, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(locks.os, "pwrite", refuse)
    with GpuLock(GPU, folder):
        assert "in use by another process" in refusal(folder)


def test_no_test_takes_a_lock_of_the_machine(tmp_path):
    assert tmp_path.parent in locks.runtime_folder().parents


def test_the_usual_folder_is_one_for_all_sessions(monkeypatch):
    monkeypatch.delenv(locks.FOLDER_VARIABLE)
    usual = locks.runtime_folder()
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/elsewhere")
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    assert locks.runtime_folder() == usual
