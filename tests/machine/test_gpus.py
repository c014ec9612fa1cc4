from __future__ import annotations

from types import SimpleNamespace

import pytest

from autobatch.errors import MachineError
from autobatch.machine import gpus, nvml_device
from autobatch.machine.gpus import GpuForbiddenError, GpuLostError, GpuUnavailableError, NoDriverError

GIB = 2**30


def test_cards_are_described_in_order(driver):
    driver.add()
    driver.add("Tesla V100-SXM2-16GB", 16 * GIB, (7, 0))
    first, second = gpus.list_gpus()
    assert (first.index, first.name, first.uuid, first.driver) == (
        0,
        "NVIDIA H100 80GB HBM3",
        "GPU-0000-5678",
        "580.82.07",
    )
    assert (second.index, second.total_bytes, second.capability) == (1, 16 * GIB, (7, 0))


@pytest.mark.parametrize(("mode", "virtual"), [(0, False), (1, False), (2, True)])
def test_a_vgpu_is_told_from_a_card_that_is_passed_through(driver, mode, virtual):
    driver.add()
    driver.cards[0]["mode"] = mode
    assert gpus.list_gpus()[0].is_virtual is virtual


def test_a_driver_that_knows_no_vgpus_has_none(driver):
    driver.add()
    driver.fails["nvmlDeviceGetVirtualizationMode"] = driver.NVMLError_NotSupported
    assert not gpus.list_gpus()[0].is_virtual


@pytest.mark.parametrize(
    ("visible", "uuids"),
    [
        ("1", ["GPU-0001-5678"]),
        ("2,0", ["GPU-0002-5678", "GPU-0000-5678"]),
        ("GPU-0001", ["GPU-0001-5678"]),
        ("0,9,1", ["GPU-0000-5678"]),
        ("-1", []),
        ("", []),
        ("GPU-0", []),
    ],
)
def test_visible_devices_choose_and_order(driver, monkeypatch, visible, uuids):
    for _ in range(3):
        driver.add()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = gpus.list_gpus()
    assert [gpu.uuid for gpu in found] == uuids
    assert [gpu.index for gpu in found] == list(range(len(uuids)))


def test_no_driver_is_no_gpus(driver):
    driver.fails["nvmlInit"] = driver.NVMLError(driver.NVML_ERROR_LIBRARY_NOT_FOUND)
    assert gpus.list_gpus() == []
    with pytest.raises(NoDriverError):
        gpus.open_device(0)


def test_a_broken_driver_is_an_error(driver):
    driver.fails["nvmlInit"] = driver.NVMLError(driver.NVML_ERROR_LIB_RM_VERSION_MISMATCH)
    with pytest.raises(GpuUnavailableError) as caught:
        gpus.list_gpus()
    assert "restart" in caught.value.do


def test_a_device_opens_by_index_and_by_uuid(driver):
    driver.add()
    driver.add()
    assert gpus.open_device(1).gpu == gpus.open_device("GPU-0001-5678").gpu
    with pytest.raises(GpuUnavailableError, match="no GPU 2: 2 to be seen"):
        gpus.open_device(2)


def test_used_memory_leaves_out_the_drivers_share(driver):
    driver.add()
    driver.cards[0]["used"] = 3 * GIB
    device = gpus.open_device(0)
    assert device.memory_used_bytes() == 3 * GIB
    assert device.memory_total_bytes() == 80 * GIB


def test_an_old_binding_gives_the_older_figure(driver):
    driver.add()
    driver.cards[0]["used"] = 3 * GIB
    del type(driver).nvmlMemory_v2
    try:
        assert gpus.open_device(0).memory_used_bytes() == 3 * GIB + GIB // 2
    finally:
        type(driver).nvmlMemory_v2 = 2


def test_the_two_figures_are_never_mixed(driver, monkeypatch):
    driver.add()
    device, usual = gpus.open_device(0), driver.nvmlDeviceGetMemoryInfo
    answers = iter([True, False, True, False, False, False])

    def now_and_then(card, version=None):
        if version and not next(answers):
            raise driver.NVMLError(999)
        return usual(card, version)

    monkeypatch.setattr(driver, "nvmlDeviceGetMemoryInfo", now_and_then)
    assert [device.memory_used_bytes() for _ in range(2)] == [0, 0]
    with pytest.raises(MachineError):
        device.memory_used_bytes()
    assert gpus.open_device(0).memory_used_bytes() == GIB // 2


def test_processes_come_once_each_with_unknown_sizes(driver):
    driver.add()
    driver.cards[0]["processes"] = [(20, None), (10, 5 * GIB)]
    device = gpus.open_device(0)
    assert [(process.pid, process.used_bytes) for process in device.processes()] == [(10, 5 * GIB), (20, None)]
    assert device.process_ids() == [10, 20]


def test_energy_and_power_are_in_joules_and_watts(driver):
    driver.add()
    device = gpus.open_device(0)
    assert (device.energy_j(), device.power_w(), device.utilization()) == (5000.0, 350.0, 0.37)
    driver.cards[0]["energy"] = None
    assert device.energy_j() is None


@pytest.fixture
def sampled(driver, monkeypatch):
    """A device, and a function that records the load in percent of a process, some seconds from now."""
    now_s = 1_000_000
    monkeypatch.setattr(nvml_device, "time", SimpleNamespace(time_ns=lambda: now_s * 10**9))
    driver.add()

    def record(pid, percent, after_s):
        stamp = int((now_s + after_s) * 1e6)
        driver.cards[0]["samples"].append(SimpleNamespace(pid=pid, smUtil=percent, timeStamp=stamp))

    return gpus.open_device(0), record


def test_loads_are_shares_by_process_each_sample_given_once(sampled):
    device, record = sampled
    assert device.loads() == {}
    record(10, 85, after_s=-0.5)
    record(20, 5, after_s=-0.5)
    assert device.loads() == {10: 0.85, 20: 0.05}
    assert device.loads() == {}
    record(10, 40, after_s=-0.25)
    assert device.loads() == {10: 0.4}


def test_loads_are_the_last_seconds_and_the_latest_counts(sampled):
    device, record = sampled
    record(30, 90, after_s=-5.0)
    record(10, 10, after_s=-0.1)
    record(10, 70, after_s=-0.6)
    assert device.loads() == {10: 0.1}


def test_an_entry_that_the_driver_left_unset_is_no_load(sampled):
    device, record = sampled
    record(10, 3_000_000_000, after_s=-0.5)
    assert device.loads() == {}


@pytest.mark.parametrize("code", [0, 3, 4, 6])
def test_loads_that_the_driver_does_not_tell_are_none(sampled, driver, code):
    device, record = sampled
    record(10, 85, after_s=-0.5)
    driver.fails["nvmlDeviceGetProcessUtilization"] = driver.NVMLError(code)
    assert device.loads() == {}


def test_loads_of_a_binding_that_does_not_know_them_are_none(sampled, driver, monkeypatch):
    device, _ = sampled
    monkeypatch.delattr(type(driver), "nvmlDeviceGetProcessUtilization")
    assert device.loads() == {}


def test_xids_are_given_once(driver):
    driver.add()
    device = gpus.open_device(0)
    driver.pending += [31, 79]
    assert device.xids() == (31, 79)
    assert device.xids() == ()


def test_xids_without_permission_are_none(driver):
    driver.add()
    driver.fails["nvmlEventSetCreate"] = driver.NVMLError_NoPermission()
    assert gpus.open_device(0).xids() == ()


def test_a_lost_gpu_is_named(driver):
    driver.add()
    device = gpus.open_device(0)
    device.check()
    driver.fails["nvmlDeviceGetMemoryInfo"] = driver.NVMLError(driver.NVML_ERROR_GPU_IS_LOST)
    with pytest.raises(GpuLostError):
        device.check()
    with pytest.raises(GpuLostError):
        device.memory_used_bytes()


@pytest.mark.parametrize(("code", "kind"), [(4, GpuForbiddenError), (999, MachineError)])
def test_other_codes_are_typed(driver, code, kind):
    driver.add()
    device = gpus.open_device(0)
    driver.fails["nvmlDeviceGetUtilizationRates"] = driver.NVMLError(code)
    with pytest.raises(kind) as caught:
        device.utilization()
    assert type(caught.value) is kind


@pytest.mark.gpu
def test_a_real_gpu_answers():
    device = gpus.open_device(0)
    assert 0 <= device.memory_used_bytes() <= device.memory_total_bytes()
    assert device.gpu.capability >= (3, 5)
    device.check()
