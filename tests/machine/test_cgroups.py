from __future__ import annotations

import os

import pytest

from autobatch.machine import cgroups

V1_MOUNTS = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
    "36 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
)
V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"


def test_v1_finds_each_controller(tree):
    root = tree(
        {
            "proc/self/mountinfo": V1_MOUNTS,
            "proc/self/cgroup": "5:memory:/user/me\n4:pids:/\n3:cpu,cpuacct:/user\n1:name=systemd:/x\n",
            "sys/fs/cgroup/memory/user/me/memory.limit_in_bytes": "1",
            "sys/fs/cgroup/pids/pids.max": "max",
        },
    )
    paths = cgroups.read(root)
    assert paths.version == "v1"
    assert paths.unified is None
    assert paths.memory is not None
    assert paths.memory.version == 1
    mount = root / "sys/fs/cgroup/memory"
    assert list(paths.memory.upwards()) == [mount / "user/me", mount / "user", mount]
    assert paths.pids is not None
    assert paths.pids.folder == root / "sys/fs/cgroup/pids"


def test_v2_walks_up_to_the_mount(tree):
    root = tree(
        {
            "proc/self/mountinfo": V2_MOUNT,
            "proc/self/cgroup": "0::/user.slice/app.scope\n",
            "sys/fs/cgroup/cgroup.controllers": "cpu memory pids\n",
            "sys/fs/cgroup/user.slice/app.scope/cgroup.controllers": "memory pids\n",
        },
    )
    paths = cgroups.read(root)
    assert paths.version == "v2"
    assert paths.memory == paths.unified == paths.pids
    assert paths.memory is not None
    assert [folder.name for folder in paths.memory.upwards()] == ["app.scope", "user.slice", "cgroup"]


def test_v2_without_the_memory_controller_has_no_memory_group(tree):
    root = tree(
        {
            "proc/self/mountinfo": V2_MOUNT,
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/cgroup.controllers": "cpu\n",
        },
    )
    paths = cgroups.read(root)
    assert paths.memory is None
    assert paths.unified is not None


def test_hybrid_takes_memory_from_v1_and_keeps_the_unified_group(tree):
    unified = "40 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    root = tree(
        {
            "proc/self/mountinfo": V1_MOUNTS + unified,
            "proc/self/cgroup": "5:memory:/a\n0::/b\n",
            "sys/fs/cgroup/memory/a/memory.stat": "",
            "sys/fs/cgroup/unified/b/cgroup.procs": "",
        },
    )
    paths = cgroups.read(root)
    assert paths.version == "hybrid"
    assert paths.memory is not None
    assert paths.memory.version == 1
    assert paths.unified is not None
    assert paths.unified.folder.name == "b"


def test_no_cgroups_at_all(tree):
    paths = cgroups.read(tree({}))
    assert paths == cgroups.CgroupPaths("none", None, None, None)


def test_a_container_sees_its_group_as_the_mount(tree):
    """Docker on v1 mounts the container's own group: the membership lies below the mount's root."""
    root = tree(
        {
            "proc/self/mountinfo": "35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
            "proc/self/cgroup": "5:memory:/docker/abc/probe\n",
            "sys/fs/cgroup/memory/probe/memory.stat": "",
        },
    )
    memory = cgroups.read(root).memory
    assert memory is not None
    assert memory.folder == root / "sys/fs/cgroup/memory/probe"


@pytest.mark.parametrize("path", ["/../../elsewhere", "/not/there"])
def test_a_path_that_cannot_be_seen_falls_back_to_the_mount(tree, path):
    root = tree(
        {
            "proc/self/mountinfo": V2_MOUNT,
            "proc/self/cgroup": f"0::{path}\n",
            "sys/fs/cgroup/cgroup.controllers": "memory\n",
        },
    )
    memory = cgroups.read(root).memory
    assert memory is not None
    assert memory.folder == memory.mount == root / "sys/fs/cgroup"


def test_a_mount_from_outside_our_namespace_is_searched_for_us(tree):
    """`unshare --cgroup` alone leaves the old mounts, whose root then lies above ours."""
    root = tree(
        {
            "proc/self/mountinfo": "35 31 0:32 /../.. /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
            "proc/self/cgroup": "5:memory:/inner\n",
            "sys/fs/cgroup/memory/pods/other/cgroup.procs": "1\n",
            "sys/fs/cgroup/memory/pods/ours/inner/cgroup.procs": f"7\n{os.getpid()}\n",
        },
    )
    memory = cgroups.read(root).memory
    assert memory is not None
    assert memory.folder == root / "sys/fs/cgroup/memory/pods/ours/inner"


def test_a_mount_hidden_by_a_later_one_is_left_out(tree):
    hidden = "40 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    covering = "64 23 0:40 / /sys/fs/cgroup rw - tmpfs none rw\n"
    root = tree({"proc/self/mountinfo": hidden + covering + V1_MOUNTS.partition("\n")[2], "proc/self/cgroup": "0::/\n"})
    assert cgroups.read(root).version == "v1"


def test_spaces_in_a_mount_are_unescaped(tree):
    root = tree(
        {
            "proc/self/mountinfo": "30 23 0:26 / /my\\040groups rw - cgroup2 none rw\n",
            "proc/self/cgroup": "0::/\n",
            "my groups/cgroup.controllers": "memory\n",
        },
    )
    memory = cgroups.read(root).memory
    assert memory is not None
    assert memory.folder.name == "my groups"


def test_broken_lines_are_passed_over(tree):
    paths = cgroups.read(tree({"proc/self/mountinfo": "no - thing\n\n1 2\n", "proc/self/cgroup": "nonsense\n:\n"}))
    assert paths.version == "none"


@pytest.mark.parametrize(
    ("text", "value"), [("123\n", 123), ("max\n", None), ("", None), ("-1\n", None), ("9" * 30, None)]
)
def test_number(tmp_path, text, value):
    (tmp_path / "file").write_text(text)
    assert cgroups.number(tmp_path / "file") == value
    assert cgroups.number(tmp_path / "absent") is None


def test_the_tightest_quota_counts(tree):
    root = tree(
        {
            "proc/self/mountinfo": V2_MOUNT,
            "proc/self/cgroup": "0::/pod/box\n",
            "sys/fs/cgroup/pod/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/pod/box/cpu.max": "max 100000\n",
        },
    )
    assert cgroups.cpu_quota(root) == 1.5


def test_a_quota_of_v1(tree):
    files = {"proc/self/mountinfo": V1_MOUNTS, "proc/self/cgroup": "3:cpu,cpuacct:/\n"}
    folder = "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_"
    assert cgroups.cpu_quota(tree({**files, f"{folder}quota_us": "400000", f"{folder}period_us": "100000"})) == 4
    assert cgroups.cpu_quota(tree({**files, f"{folder}quota_us": "-1", f"{folder}period_us": "100000"})) is None
