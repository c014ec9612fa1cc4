from __future__ import annotations

import os
import subprocess
import time
from dataclasses import replace

import pytest

from autobatch.isolation import proc
from autobatch.isolation.parent import MARK
from autobatch.store.orphans import find_orphans, kill_orphans
from autobatch.store.owner import Process

GONE = 2**22 + 7
"""A pid that the kernel never gives."""


@pytest.fixture
def owner():
    return replace(Process.current(), pid=GONE)


@pytest.fixture
def orphan():
    """A probe with a worker, and an escapee in a session of its own."""
    environment = {**os.environ, MARK: f"{GONE}-x"}
    script = "sleep 600 & setsid sleep 600 & wait"
    with subprocess.Popen(["sh", "-c", script], env=environment, start_new_session=True) as process:
        while len(proc.descendants(process.pid)) < 2:
            time.sleep(0.01)
        yield process
        proc.kill([*proc.descendants(process.pid), process.pid])


def test_the_whole_tree_is_found_by_its_mark_and_killed(owner, orphan):
    tree = sorted([orphan.pid, *proc.descendants(orphan.pid)])
    assert len(tree) == 3
    assert kill_orphans(owner, None) == (tree, [])
    assert find_orphans(owner, None) == []


def test_an_unmarked_probe_is_found_by_its_recorded_process(owner):
    with subprocess.Popen(["sleep", "600"]) as probe:
        facts = {"pid": probe.pid, "start_time_ticks": proc.stat(probe.pid).start_ticks, "boot_id": owner.boot_id}
        assert find_orphans(owner, {**facts, "start_time_ticks": 1}) == []
        assert kill_orphans(owner, facts) == ([probe.pid], [])


def test_nothing_of_another_boot_or_container_is_touched(owner, orphan):
    assert find_orphans(replace(owner, boot_id="another"), None) == []
    assert find_orphans(replace(owner, pid_namespace="1:1"), None) == []
    assert orphan.poll() is None


def test_processes_older_than_the_search_are_not_its_orphans(owner, orphan):
    later = proc.stat(orphan.pid).start_ticks + 1_000
    assert find_orphans(replace(owner, start_time_ticks=later), None) == []


def test_a_living_search_with_the_reused_pid_keeps_its_children():
    with subprocess.Popen(["sleep", "600"]) as reused:
        environment = {**os.environ, MARK: f"{reused.pid}-x"}
        with subprocess.Popen(["sleep", "600"], env=environment) as child:
            dead = replace(Process.current(), pid=reused.pid)
            assert find_orphans(dead, None) == []
            child.kill()
        reused.kill()
