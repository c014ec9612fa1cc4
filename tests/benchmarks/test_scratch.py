"""What a benchmark starts ends with it."""

import os
import subprocess
import sys
import time

import pytest

from benchmarks.scratch import MARK, ROOT, left_over, scratch


def start_escaping():
    """Start a process that starts another in a session of its own and ends; return once that has happened."""
    code = "import subprocess as s; print(s.Popen(['sleep', '600'], stdout=s.DEVNULL, start_new_session=True).pid)"
    return int(subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, timeout=60).stdout)


def is_there(pid):
    try:
        with open(f"/proc/{pid}/stat") as stream:  # noqa: PTH123 - not worth a Path
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_escaped_is_found_and_ended():
    with scratch() as folder:
        pid = start_escaping()
        assert is_there(pid)
        assert left_over(folder) == ["sleep 600"]
    deadline = time.monotonic() + 20
    while is_there(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_there(pid)
    assert not folder.exists()


def test_it_ends_also_where_the_benchmark_fails(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    folders = []

    def interrupted():
        with scratch() as folder:
            folders.append(folder)
            start_escaping()
            assert os.environ["PYTHONPATH"].split(os.pathsep) == [str(ROOT), "/somewhere"]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert left_over(folders[0]) == []
    assert os.environ["PYTHONPATH"] == "/somewhere"
    assert MARK not in os.environ


def test_another_benchmarks_processes_are_let_be(tmp_path):
    with scratch():
        other = subprocess.Popen(["sleep", "600"], env={**os.environ, MARK: str(tmp_path)})
    try:
        assert other.poll() is None
        assert left_over(tmp_path) == ["sleep 600"]
    finally:
        other.kill()
        other.wait()
