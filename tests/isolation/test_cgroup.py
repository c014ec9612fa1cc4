from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

import pytest

from autobatch.isolation import cgroup
from autobatch.isolation.cgroup_memory import Memory, memory_counters
from autobatch.machine.cgroups import CgroupPaths, Group


@pytest.fixture
def group():
    made = cgroup.create(f"autobatch-test-{time.monotonic_ns()}", 64 << 20, pids_max=32)
    if made is None:
        pytest.skip("cgroups may not be made here")
    yield made
    made.kill()
    made.remove()


def in_group(group, *command):
    process = subprocess.Popen(["sh", "-c", 'read go; exec "$@"', "sh", *command], stdin=subprocess.PIPE, text=True)
    group.add(process.pid)
    process.stdin.write("go\n")
    process.stdin.flush()
    return process


def test_the_kernel_kills_inside_at_the_limit_and_counts_it(group):
    process = in_group(group, "python3", "-c", "x = bytearray(256 << 20)")
    assert process.wait(20) == -9
    counters = group.counters()
    assert counters["memory.oom_kill"] > 0
    assert counters["memory.max"] > 0


def test_page_cache_is_no_working_set(group, tmp_path):
    process = in_group(group, "dd", "if=/dev/zero", f"of={tmp_path}/file", "bs=1M", "count=128")
    assert process.wait(60) == 0
    assert group.counters()["memory.oom_kill"] == 0
    assert group.memory.working_set_bytes() < 48 << 20


def test_kill_takes_escapees_and_leaves_it_empty(group):
    process = in_group(group, "sh", "-c", "setsid --fork sleep 60; setsid --fork sh -c 'sleep 60; true'; sleep 60")
    deadline = time.monotonic() + 5
    while len(group.processes()) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(group.processes()) >= 4
    assert group.kill()
    assert group.processes() == []
    process.wait()
    group.remove()
    assert not any(directory.exists() for directory in group.directories)


def test_processes_are_counted_and_refused(group):
    process = in_group(group, "bash", "-c", "for i in $(seq 64); do sleep 5 & done; wait")
    deadline = time.monotonic() + 10
    while group.counters()["pids.max"] == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert group.counters()["pids.max"] > 0
    group.kill()
    process.wait()


def v2(tmp_path, **files):
    for name, text in files.items():
        (tmp_path / name.replace("__", ".")).write_text(text)
    return tmp_path


def test_v2_limits_forbid_swap_and_take_the_whole_group(tmp_path):
    folder = v2(tmp_path, memory__max="", memory__swap__max="", memory__oom__group="")
    Memory(folder, 2).set_limit(123456789)
    written = [(folder / f"memory.{name}").read_text() for name in ("max", "swap.max", "oom.group")]
    assert written == ["123456789", "0", "1"]


def test_v2_counters_are_read(tmp_path):
    events = "low 0\nhigh 0\nmax 41\noom 2\noom_kill 3\noom_group_kill 1\n"
    folder = v2(tmp_path, memory__events=events, memory__current="1000\n", memory__stat="inactive_file 300\n")
    assert memory_counters(folder) == {"max": 41, "oom": 2, "oom_kill": 3}
    assert Memory(folder, 2).working_set_bytes() == 700


def test_v1_knows_by_its_peak_whether_a_limit_was_reached(tmp_path):
    files = {"memory.limit_in_bytes": str(100 << 20), "memory.oom_control": "under_oom 0\noom_kill 1\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "memory.max_usage_in_bytes").write_text(str(100 << 20))
    assert memory_counters(tmp_path) == {"max": 1, "oom_kill": 1}
    (tmp_path / "memory.max_usage_in_bytes").write_text(str(98 << 20))
    assert memory_counters(tmp_path) == {"max": 0, "oom_kill": 1}


def test_v2_controllers_are_handed_down_once(tmp_path):
    folder = v2(tmp_path, cgroup__controllers="cpu memory pids\n", cgroup__subtree_control="")
    cgroup._hand_down_controllers(folder)
    assert (folder / "cgroup.subtree_control").read_text() == "+memory +pids"
    (folder / "cgroup.subtree_control").write_text("memory pids")
    cgroup._hand_down_controllers(folder)
    assert (folder / "cgroup.subtree_control").read_text() == "memory pids"


def test_v2_moves_its_processes_into_a_leaf_when_the_kernel_says_busy(tmp_path, monkeypatch):
    folder = v2(tmp_path, cgroup__controllers="memory", cgroup__subtree_control="", cgroup__procs="11\n12\n")
    written = []

    def kernel(path, value):
        written.append((path.relative_to(folder), value))
        if path.name == "cgroup.subtree_control" and len(written) == 1:
            raise OSError(16, "busy")

    monkeypatch.setattr(cgroup, "write", kernel)
    monkeypatch.setattr(cgroup.os, "getpid", lambda: 12)
    cgroup._hand_down_controllers(folder)
    leaf = Path(cgroup.LEAF, "cgroup.procs")
    control = Path("cgroup.subtree_control")
    assert written == [(control, "+memory"), (leaf, 12), (leaf, 11), (leaf, 12), (control, "+memory")]


@pytest.mark.parametrize("folder", ["/proc/self", "/nonexistent"])
def test_where_none_may_be_made_there_is_none(folder):
    place = Group(Path(folder), Path(folder), 2)
    assert cgroup.create("autobatch-test", 1 << 30, paths=CgroupPaths("v2", place, place, place)) is None


def test_one_search_at_a_time_makes_and_unmakes(tmp_path):
    folder = v2(tmp_path, cgroup__controllers="", memory__max="")
    place, made = Group(folder, folder, 2), []
    maker = threading.Thread(
        target=lambda: made.append(cgroup.create("autobatch-x", None, paths=CgroupPaths("v2", place, place, place)))
    )

    with cgroup._alone(folder):
        maker.start()
        maker.join(0.2)
        assert not made
    maker.join(10)

    assert [group.directories for group in made] == [[folder / "autobatch-x"]]


def test_without_a_memory_controller_there_is_none():
    assert cgroup.create("autobatch-test", 1 << 30, paths=CgroupPaths("none", None, None, None)) is None


def tree(base, *names):
    """Make an empty cgroup of each name below a v2 cgroup of ours, which stands for the mount, too."""
    for name in names:
        (base / name).mkdir(parents=True)
    place = Group(base, base, 2)
    return CgroupPaths("v2", place, place, place)


def names(base):
    return sorted(path.name for path in base.iterdir())


def test_what_dead_searches_left_is_removed_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroup, "_REMOVAL_S", 0.05)
    base, elsewhere = tmp_path / "mount", tmp_path / "autobatch-elsewhere"
    paths = tree(base, "autobatch-busy", "autobatch-1", "autobatch-2/below", cgroup.LEAF, "another")
    (base / "autobatch-busy" / "file").touch()
    elsewhere.mkdir()
    left = [*base.iterdir(), elsewhere, base / ".." / elsewhere.name, base / "autobatch-gone"]
    cgroup.remove_left([base / "autobatch-busy", *left], paths)
    assert names(base) == ["another", "autobatch-busy", cgroup.LEAF]
    assert elsewhere.exists()


@pytest.mark.parametrize("name", ["autobatch-\0", "autobatch-" + "x" * 300])
def test_a_name_that_no_file_can_have_is_passed_over(tmp_path, name):
    paths = tree(tmp_path / "mount")
    cgroup.remove_left([tmp_path / "mount" / name], paths)


def test_where_there_are_no_cgroups_none_are_removed(tmp_path):
    (tmp_path / "autobatch-1").mkdir()
    cgroup.remove_left([tmp_path / "autobatch-1"], CgroupPaths("none", None, None, None))
    assert names(tmp_path) == ["autobatch-1"]


def test_one_with_a_process_in_it_stays(group, monkeypatch):
    monkeypatch.setattr(cgroup, "_REMOVAL_S", 0.05)
    process = in_group(group, "sleep", "60")
    cgroup.remove_left(group.directories)
    assert all(directory.exists() for directory in group.directories)
    group.kill()
    process.wait()
    cgroup.remove_left(group.directories)
    assert not any(directory.exists() for directory in group.directories)


def test_the_leaf_is_undone_once_the_cgroup_of_a_killed_search_is_gone(tmp_path, monkeypatch):
    base = tmp_path / "mount"
    tree(base, cgroup.LEAF, "autobatch-killed")
    v2(base / cgroup.LEAF, cgroup__procs="11\n12\n")
    place, written = Group(base / cgroup.LEAF, base, 2), []
    paths = CgroupPaths("v2", place, place, place)
    monkeypatch.setattr(cgroup, "write", lambda path, value: written.append((path.relative_to(base), value)))
    cgroup.restore(paths)
    assert written == []
    cgroup.remove_left([base / "autobatch-killed"], paths)
    cgroup.restore(paths)
    procs = Path("cgroup.procs")
    assert written == [(Path("cgroup.subtree_control"), "-memory -pids"), (procs, 11), (procs, 12)]


def test_one_that_is_busy_keeps_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroup, "_REMOVAL_S", 0.05)
    tree(tmp_path, "busy", "idle")
    (tmp_path / "busy" / "file").touch()
    cgroup.ProbeGroup([tmp_path / "busy", tmp_path / "idle"], Memory(tmp_path / "busy", 2)).remove()
    assert names(tmp_path) == ["busy"]
