from __future__ import annotations

from dataclasses import replace

import pytest

from autobatch.machine.differences import compare
from autobatch.machine.fingerprint import Fingerprint
from autobatch.machine.gpus import Gpu

GIB = 2**30
GPU = Gpu(0, "NVIDIA GeForce RTX 3090", "GPU-a", 24 * GIB, (8, 6), "580.82.07")
HERE = Fingerprint(
    device="cuda:0",
    gpus=(GPU,),
    cores=48,
    host_limit_bytes=60 * GIB,
    host_limit_source="memory.max",
    cgroup_version="v2",
    kernel="6.8.0",
    wsl2=False,
    processor="EPYC",
    python="3.11.7",
    libraries={"torch": "2.11.0", "transformers": "5.17.0", "autobatch": "0.1.0"},
)


def with_gpu(**changes):
    return replace(HERE, gpus=(replace(GPU, **changes),))


def test_the_same_machine_has_no_differences():
    assert compare(HERE, HERE) == []


@pytest.mark.parametrize(
    ("now", "name", "matters"),
    [
        (replace(HERE, device="cpu"), "device", True),
        (with_gpu(name="NVIDIA GeForce RTX 4090"), "GPU", True),
        (with_gpu(total_bytes=10 * GIB), "GPU memory", True),
        (with_gpu(driver="570.10.01"), "driver", True),
        (with_gpu(driver="580.95.05"), "driver", False),
        (with_gpu(uuid="GPU-b"), "GPU UUID", False),
        (replace(HERE, host_limit_bytes=30 * GIB), "host memory limit", True),
        (replace(HERE, host_limit_bytes=200 * GIB), "host memory limit", False),
        (replace(HERE, cores=8), "cores", True),
        (replace(HERE, processor="Xeon"), "processor", False),
        (replace(HERE, wsl2=True), "WSL2", True),
        (replace(HERE, kernel="6.9.0"), "kernel", False),
        (replace(HERE, cgroup_version="v1"), "cgroup version", False),
        (replace(HERE, libraries={**HERE.libraries, "torch": "2.13.0"}), "torch", True),
        (replace(HERE, libraries={**HERE.libraries, "torch": "2.11.1"}), "torch", False),
        (replace(HERE, libraries={**HERE.libraries, "bitsandbytes": "0.50.2"}), "bitsandbytes", True),
    ],
)
def test_one_difference_is_named_and_weighed(now, name, matters):
    (found,) = compare(HERE, now)
    assert (found.name, found.matters) == (name, matters)
    assert found.was != found.now
    assert found.why


def test_what_says_nothing_is_left_out():
    now = replace(
        HERE,
        host_limit_bytes=60 * GIB - 500_000_000,
        libraries={**HERE.libraries, "autobatch": "0.2.0"},
    )
    assert compare(HERE, now) == []


def test_what_matters_comes_first():
    now = replace(HERE, kernel="6.9.0", cores=8, gpus=(replace(GPU, uuid="GPU-b"),))
    assert [found.matters for found in compare(HERE, now)] == [True, False, False]


def test_the_processor_matters_on_the_cpu():
    was = replace(HERE, device="cpu")
    (found,) = compare(was, replace(was, processor="Xeon"))
    assert found.matters
