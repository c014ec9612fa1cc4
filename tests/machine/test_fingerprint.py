from __future__ import annotations

import json
import subprocess
import sys

import pytest

from autobatch.errors import UsageError
from autobatch.machine import fingerprint, processors
from autobatch.machine.fingerprint import Fingerprint, precisions
from autobatch.machine.gpus import GpuUnavailableError

GIB = 2**30


def test_it_reads_this_machine():
    found = fingerprint.read("cpu")
    assert found.gpu is None
    assert found.cores >= 1
    assert found.host_limit_bytes > 0
    assert found.libraries["torch"]
    assert found.python.startswith("3.")


def test_it_survives_json(driver):
    driver.add()
    found = fingerprint.read("cuda:0")
    again = Fingerprint.from_dict({**json.loads(json.dumps(found.to_dict())), "a newer field": 1})
    assert again == found
    assert again.gpu is not None
    assert again.gpu.capability == (9, 0)


def test_the_gpu_is_the_one_measured_on(driver):
    driver.add()
    driver.add("Tesla V100", 16 * GIB, (7, 0))
    assert fingerprint.read("cuda:1").gpu.name == "Tesla V100"
    assert fingerprint.read("cuda").gpu.name == "NVIDIA H100 80GB HBM3"


def test_precisions_follow_the_capability(driver):
    driver.add("Tesla V100", 16 * GIB, (7, 0))
    driver.add("NVIDIA GeForce RTX 3090", 24 * GIB, (8, 6))
    assert precisions("cuda:0") == ("fp32", "fp16")
    assert precisions("cuda:1") == ("fp32", "tf32", "bf16", "fp16")
    assert precisions("cpu") == ("fp32", "bf16")
    with pytest.raises(GpuUnavailableError):
        precisions("cuda:2")


@pytest.mark.parametrize(("quota", "cores"), [("max", 8), ("150000", 2), ("10000", 1), ("6400000", 8)])
def test_cores_are_what_a_quota_leaves(tree, monkeypatch, quota, cores):
    monkeypatch.setattr(processors, "visible", lambda: 8)
    root = tree(
        {
            "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/cpu.max": f"{quota} 100000\n",
        },
    )
    assert processors.usable(root) == cores


def test_wsl2_is_told_by_its_kernel():
    assert fingerprint.is_wsl2("6.6.87.2-microsoft-standard-WSL2")
    assert not fingerprint.is_wsl2("6.8.0-45-generic")


def test_reading_it_imports_no_heavy_library():
    code = (
        "import sys; from autobatch.machine import fingerprint; fingerprint.read('cpu');"
        "heavy = {'torch', 'transformers', 'numpy', 'bitsandbytes'} & set(sys.modules); print(sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("device", ["foo", "cuda:x", "cuda:-1", "cpu:0", "", "cuda:0:0"])
def test_another_word_is_no_device(device):
    with pytest.raises(UsageError, match="There is no device"):
        fingerprint.read(device)


def test_a_gpu_that_is_not_there_is_said(driver):
    driver.add()

    with pytest.raises(GpuUnavailableError, match="no GPU cuda:1"):
        fingerprint.read("cuda:1")
