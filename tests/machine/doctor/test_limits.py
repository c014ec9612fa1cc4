from __future__ import annotations

import os
import resource

import pytest

from autobatch.machine.doctor import host, isolation, limits
from autobatch.machine.doctor.finding import Level
from autobatch.machine.memory import SharedMemory

GIB = 2**30
V2 = {
    "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
    "proc/self/cgroup": "0::/box\n",
    "sys/fs/cgroup/cgroup.controllers": "memory pids\n",
    "sys/fs/cgroup/box/memory.max": f"{16 * GIB}\n",
    "sys/fs/cgroup/box/memory.current": f"{GIB}\n",
}


def by_level(findings, level):
    return [finding.what for finding in findings if finding.level is level]


def test_every_limit_is_said(tree):
    found = [finding.what for finding in limits.groups(tree(V2))]
    assert found[0] == "version v2, memory by v2"
    assert found[1].endswith("box/memory.max: 16.0 GiB")
    assert found[2].startswith("limit 16.0 GiB")
    assert len(found) == 3


def test_a_full_group_is_a_problem(tree):
    files = {**V2, "sys/fs/cgroup/box/memory.current": f"{15 * GIB}\n"}
    assert len(by_level(limits.groups(tree(files)), Level.PROBLEM)) == 1


def test_throttling_and_few_processes_are_warnings(tree):
    files = {**V2, "sys/fs/cgroup/box/memory.high": f"{12 * GIB}\n", "sys/fs/cgroup/pids.max": "100\n"}
    warnings = by_level(limits.groups(tree(files)), Level.WARNING)
    assert ["memory.high" in warnings[0], "100" in warnings[1]] == [True, True]


def test_a_quota_below_the_cores_is_a_warning(tree, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(48)))
    (found,) = limits.processors(tree({**V2, "sys/fs/cgroup/box/cpu.max": "400000 100000\n"}))
    assert (found.level, "gives 4.0 of them" in found.what) == (Level.WARNING, True)
    (found,) = limits.processors(tree({**V2, "sys/fs/cgroup/box/cpu.max": "max 100000\n"}))
    assert (found.level, found.what) == (Level.OK, "48")


@pytest.mark.parametrize(("free", "level"), [(64 << 20, Level.WARNING), (8 * GIB, Level.OK)])
def test_shared_memory(free, level):
    (found,) = limits.shared_memory(SharedMemory(8 * GIB, free))
    assert found.level is level


@pytest.mark.parametrize(
    ("name", "soft", "said"),
    [("RLIMIT_NOFILE", 256, "256"), ("RLIMIT_NPROC", 100, "100"), ("RLIMIT_AS", 32 * GIB, "32.0 GiB")],
)
def test_ulimits_in_the_way(monkeypatch, name, soft, said):
    asked = getattr(resource, name)
    real = resource.getrlimit
    monkeypatch.setattr(resource, "getrlimit", lambda what: (soft, soft) if what == asked else real(what))
    assert any(said in what for what in by_level(limits.ulimits(), Level.WARNING))


def test_disk(tmp_path, monkeypatch):
    (found,) = limits.disk((tmp_path, tmp_path))
    assert found.what.startswith(str(tmp_path))
    monkeypatch.setattr(limits, "_LITTLE_DISK", 2**60)
    (found,) = limits.disk((tmp_path,))
    assert found.level is Level.WARNING


def test_wsl2_is_warned_of_the_spill():
    assert [finding.level for finding in host.wsl2("6.6.87.2-microsoft-standard-WSL2")] == [Level.WARNING, Level.NOTE]
    assert list(host.wsl2("6.8.0-generic")) == []


def test_a_group_that_may_not_be_written_is_no_isolation(tree, monkeypatch):
    root = tree({**V2, "sys/fs/cgroup/box/cgroup.controllers": "memory\n"})
    paths = isolation.cgroups.read(root)
    (found,) = isolation.sub_cgroup(paths)
    assert (found.level, "cgroup.subtree_control cannot be written" in found.what) == (Level.NOTE, True)
    monkeypatch.setattr(isolation, "_writable", lambda _: True)
    assert [finding.level for finding in isolation.sub_cgroup(paths)] == [Level.OK]
    assert sorted(path.name for path in (root / "sys/fs/cgroup/box").iterdir() if path.is_dir()) == []


def test_without_a_memory_controller_there_is_none(tree):
    (found,) = isolation.sub_cgroup(isolation.cgroups.read(tree({})))
    assert found.level is Level.NOTE


def test_without_a_unified_hierarchy_nothing_is_killed_at_one_stroke(tree):
    (found,) = isolation.killing(isolation.cgroups.read(tree({})))
    assert (found.level, "no cgroup v2 here" in found.what) == (Level.NOTE, True)


def test_cgroup_kill_is_tried_in_a_group_that_is_removed_again(tree):
    root = tree(V2)
    paths = isolation.cgroups.read(root)
    (found,) = isolation.killing(paths)
    assert "gives its children no cgroup.kill" in found.what
    assert [path.name for path in (root / "sys/fs/cgroup/box").iterdir() if path.is_dir()] == []


@pytest.mark.parametrize(("score", "level"), [("0\n", Level.OK), ("-1000\n", Level.WARNING), ("?", Level.WARNING)])
def test_oom_score(tree, score, level):
    (found,) = isolation.oom_score(tree({"proc/self/oom_score_adj": score}))
    assert found.level is level
