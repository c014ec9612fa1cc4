from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import time

from autobatch.isolation import proc

NEST = "import subprocess, sys, time; subprocess.Popen(['sleep', '60']); print('up', flush=True); time.sleep(60)"


def started(*command, **options):
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


def test_a_process_is_named_by_pid_and_start():
    ours = proc.stat(os.getpid())
    assert ours.parent == os.getppid()
    assert ours.state == "R"
    assert proc.is_same(os.getpid(), ours.start_ticks)
    assert not proc.is_same(os.getpid(), ours.start_ticks + 1)


def test_a_name_with_parentheses_and_spaces_is_read(tmp_path):
    odd = tmp_path / "a) R 1 (b"
    odd.symlink_to("/bin/sleep")
    with subprocess.Popen([str(odd), "60"]) as process:
        time.sleep(0.1)
        assert proc.stat(process.pid).parent == os.getpid()
        process.kill()


def test_a_process_that_is_gone_or_a_zombie_is_not_the_same():
    process = started("true")
    ticks = proc.stat(process.pid).start_ticks
    deadline = time.monotonic() + 5
    while proc.stat(process.pid).state != "Z" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not proc.is_same(process.pid, ticks)
    process.communicate()
    assert proc.stat(process.pid) is None


def marked_at_last(mark, expected):
    """A process shows no environment while it execs or exits: a busy machine may take its time."""
    deadline = time.monotonic() + 5
    while set(proc.marked(mark)) != expected and time.monotonic() < deadline:
        time.sleep(0.01)
    return set(proc.marked(mark)) == expected


def test_descendants_are_found_below_and_by_their_mark_after_their_parent_died():
    mark = f"TEST_MARK={os.getpid()}-{time.monotonic_ns()}"
    name, _, value = mark.partition("=")
    process = started(sys.executable, "-c", NEST, env={**os.environ, name: value})
    process.stdout.readline()
    below = proc.descendants(process.pid)
    assert len(below) == 1
    assert marked_at_last(mark, {process.pid, *below})
    process.kill()
    process.wait()
    assert marked_at_last(mark, set(below))
    proc.kill(below)
    assert marked_at_last(mark, set())


def test_killing_the_dead_is_no_error():
    process = started("true")
    process.communicate()
    proc.kill([process.pid], signal.SIGTERM)


def test_memory_counts_what_was_touched():
    before = proc.resident_bytes(os.getpid()), proc.anonymous_bytes(os.getpid())
    area = mmap.mmap(-1, 64 << 20)
    area.write(b"x" * (64 << 20))
    after = proc.resident_bytes(os.getpid()), proc.anonymous_bytes(os.getpid())
    area.close()
    assert all(60 << 20 < late - early < 140 << 20 for early, late in zip(before, after, strict=True))


def test_an_address_space_limit_is_seen():
    assert proc.address_space_limit(os.getpid()) is None
    process = started("sh", "-c", "ulimit -v 1000000; echo up; sleep 60; true")
    process.stdout.readline()
    assert proc.address_space_limit(process.pid) == 1000000 * 1024
    proc.kill([*proc.descendants(process.pid), process.pid])
    process.communicate()
