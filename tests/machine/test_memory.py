from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from autobatch.machine import cgroups, memory

GIB = 2**30
V1 = {
    "proc/self/mountinfo": "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
    "proc/self/cgroup": "5:memory:/box/inner\n",
}
V1_FOLDER = "sys/fs/cgroup/memory"
V2 = {
    "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
    "proc/self/cgroup": "0::/box/inner\n",
    "sys/fs/cgroup/cgroup.controllers": "memory\n",
}
UNLIMITED = str(2**63 - 4096)


def test_physical_memory_where_nothing_limits(tree):
    limit = memory.host_limit(tree({}))
    assert limit == memory.HostLimit(64 * GIB, "physical memory", 16 * GIB)
    assert limit.free_bytes == 48 * GIB


def test_v1_unlimited_is_no_limit(tree):
    files = {f"{V1_FOLDER}/box/inner/memory.limit_in_bytes": UNLIMITED}
    assert memory.host_limit(tree({**V1, **files})).source == "physical memory"


def test_v1_own_limit_and_working_set(tree):
    folder = f"{V1_FOLDER}/box/inner"
    files = {
        f"{folder}/memory.limit_in_bytes": str(8 * GIB),
        f"{folder}/memory.usage_in_bytes": str(5 * GIB),
        f"{folder}/memory.stat": f"cache {4 * GIB}\ntotal_inactive_file {3 * GIB}\ninactive_file 1\n",
    }
    limit = memory.host_limit(tree({**V1, **files}))
    assert (limit.bytes, limit.used_bytes, limit.free_bytes) == (8 * GIB, 2 * GIB, 6 * GIB)
    assert limit.source.endswith("box/inner/memory.limit_in_bytes")


def test_v1_an_ancestors_tighter_limit_counts(tree):
    files = {
        f"{V1_FOLDER}/box/inner/memory.limit_in_bytes": str(32 * GIB),
        f"{V1_FOLDER}/box/memory.limit_in_bytes": str(4 * GIB),
    }
    limit = memory.host_limit(tree({**V1, **files}))
    assert (limit.bytes, limit.source.endswith("box/memory.limit_in_bytes")) == (4 * GIB, True)


def test_v1_an_ancestor_out_of_sight_shows_in_the_hierarchical_limit(tree):
    files = {
        f"{V1_FOLDER}/box/inner/memory.limit_in_bytes": UNLIMITED,
        f"{V1_FOLDER}/box/inner/memory.stat": f"hierarchical_memory_limit {6 * GIB}\n",
    }
    limit = memory.host_limit(tree({**V1, **files}))
    assert (limit.bytes, "hierarchical_memory_limit" in limit.source) == (6 * GIB, True)


def test_v2_the_whole_hierarchy_counts(tree):
    files = {
        "sys/fs/cgroup/box/inner/memory.max": "max\n",
        "sys/fs/cgroup/box/memory.max": f"{10 * GIB}\n",
        "sys/fs/cgroup/box/memory.current": f"{3 * GIB}\n",
        "sys/fs/cgroup/box/memory.stat": f"inactive_file {GIB}\n",
    }
    limit = memory.host_limit(tree({**V2, **files}))
    assert (limit.bytes, limit.used_bytes) == (10 * GIB, 2 * GIB)


def test_v2_memory_high_is_a_limit_too(tree):
    files = {
        "sys/fs/cgroup/box/inner/memory.max": f"{10 * GIB}\n",
        "sys/fs/cgroup/box/inner/memory.high": f"{9 * GIB}\n",
    }
    assert memory.host_limit(tree({**V2, **files})).bytes == 9 * GIB


def test_a_limit_above_physical_memory_does_not_count(tree):
    files = {"sys/fs/cgroup/box/inner/memory.max": f"{512 * GIB}\n"}
    assert memory.host_limit(tree({**V2, **files})).source == "physical memory"


def test_of_equal_limits_the_inner_one_is_named(tree):
    files = {
        "sys/fs/cgroup/box/memory.max": f"{GIB}\n",
        "sys/fs/cgroup/box/inner/memory.max": f"{GIB}\n",
    }
    assert "box/inner" in memory.host_limit(tree({**V2, **files})).source


def test_shared_memory_of_a_folder_that_is_not_there(tmp_path):
    assert memory.shared_memory(str(tmp_path / "none")) is None
    found = memory.shared_memory(str(tmp_path))
    assert found is not None
    assert 0 <= found.free_bytes <= found.total_bytes


def test_a_real_limit_is_read_from_inside(limited):
    code = "from autobatch.machine.memory import host_limit; print(host_limit().bytes)"
    assert int(limited(code)) == GIB


@pytest.fixture
def limited():
    """Run Python code in a memory group of 1 GiB below ours; skip where none can be made."""
    group = cgroups.read().memory
    if group is None:
        pytest.skip("no memory controller here")
    name = "memory.limit_in_bytes" if group.version == 1 else "memory.max"
    folder = group.folder / f"autobatch-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / name).write_text(str(GIB))
    except OSError as error:
        if folder.is_dir():
            folder.rmdir()
        pytest.skip(f"no memory group can be made here: {error}")
    yield lambda code: _inside(folder, code)
    folder.rmdir()


def _inside(folder: Path, code: str) -> str:
    enter = f"open({str(folder / 'cgroup.procs')!r}, 'w').write('0')\n"
    done = subprocess.run([sys.executable, "-c", enter + code], capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.strip()
