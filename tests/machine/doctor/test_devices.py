from __future__ import annotations

import os

import pytest

from autobatch.machine.doctor import devices, libraries, software
from autobatch.machine.doctor.finding import Level

GIB = 2**30


@pytest.fixture(autouse=True)
def cuda_13(monkeypatch):
    monkeypatch.setattr(software, "torch_cuda", lambda: (13, 0))


def of(findings, level):
    return [finding for finding in findings if finding.level is level]


def test_a_good_card_is_described(driver):
    driver.add()
    found = list(devices.cards())
    assert {finding.level for finding in found} == {Level.OK}
    assert "NVIDIA H100 80GB HBM3, 80.0 GiB, capability 9.0, GPU-0000-5678" in found[1].what


def test_no_driver_and_no_card_is_a_note(driver, tree):
    driver.fails["nvmlInit"] = driver.NVMLError(driver.NVML_ERROR_LIBRARY_NOT_FOUND)
    (found,) = devices.without_driver(tree({}))
    assert found.level is Level.NOTE
    assert [finding.area for finding in devices.cards()] == ["GPU"]


@pytest.mark.parametrize(
    ("vendor", "kind", "level"), [("0x10de", "0x030200", "problem"), ("0x10de", "0x040300", "note")]
)
def test_a_card_without_a_driver_is_a_problem(tree, vendor, kind, level):
    folder = "sys/bus/pci/devices/0000:01:00.0"
    (found,) = devices.without_driver(tree({f"{folder}/vendor": vendor, f"{folder}/class": kind}))
    assert found.level == level


def test_a_card_passed_through_by_windows_without_a_driver_is_a_problem(tree):
    (found,) = devices.without_driver(tree({"dev/dxg": ""}))
    assert (found.level, "in Windows" in found.do) == (Level.PROBLEM, True)


def test_an_old_driver_is_a_problem_with_the_number_needed(driver):
    driver.add()
    driver.driver = "535.104.05"
    (found,) = of(devices.cards(), Level.PROBLEM)
    assert "535.104.05" in found.what
    assert "580" in found.do


def test_a_driver_that_was_updated_says_restart(driver):
    driver.fails["nvmlInit"] = driver.NVMLError(driver.NVML_ERROR_LIB_RM_VERSION_MISMATCH)
    (found,) = devices.cards()
    assert (found.level, "restart" in found.do) == (Level.PROBLEM, True)


def test_volta_under_cuda_13_cannot_run(driver):
    driver.add("Tesla V100-SXM2-16GB", 16 * GIB, (7, 0))
    found = list(devices.cards())
    assert ["cu126" in finding.do for finding in of(found, Level.PROBLEM)] == [True]
    assert ["bf16" in finding.what for finding in of(found, Level.NOTE)] == [True]


def test_unlike_cards_may_be_numbered_otherwise_by_cuda(driver):
    driver.add()
    assert list(devices.order(devices.gpus.list_gpus(), {})) == []
    driver.add("NVIDIA GeForce RTX 3090", 24 * GIB, (8, 6))
    (found,) = devices.order(devices.gpus.list_gpus(), {})
    assert "CUDA_DEVICE_ORDER" in found.do
    assert list(devices.order(devices.gpus.list_gpus(), {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"})) == []


def test_who_else_is_on_the_card_is_named(driver):
    driver.add()
    driver.cards[0].update(processes=[(os.getpid(), 5 * GIB), (2**22 + 1, None)], used=6 * GIB)
    (found,) = devices.tenants()
    assert found.level is Level.WARNING
    assert f"(pid {os.getpid()}, 5.0 GiB)" in found.what
    assert "outside this container" in found.what


def test_memory_of_processes_out_of_sight_is_a_warning(driver):
    driver.add()
    assert [finding.level for finding in devices.tenants()] == [Level.OK]
    driver.cards[0]["used"] = 10 * GIB
    assert [finding.level for finding in devices.tenants()] == [Level.WARNING]


@pytest.mark.parametrize(
    ("variables", "levels"),
    [
        ({}, []),
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, [Level.NOTE]),
        ({"CUDA_VISIBLE_DEVICES": ""}, [Level.WARNING]),
        ({"CUDA_LAUNCH_BLOCKING": "1"}, [Level.WARNING]),
        ({"CUDA_LAUNCH_BLOCKING": "0"}, []),
        ({"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}, [Level.NOTE]),
    ],
)
def test_variables(variables, levels):
    assert [finding.level for finding in devices.environment(variables)] == levels


def test_torch_for_the_cpu_beside_a_gpu_is_a_problem(driver, monkeypatch):
    driver.add()
    assert [finding.level for finding in libraries.torch_build()] == [Level.OK]
    monkeypatch.setattr(software, "torch_cuda", lambda: None)
    (found,) = libraries.torch_build()
    assert (found.level, "pip install" in found.do) == (Level.PROBLEM, True)


@pytest.mark.gpu
def test_a_real_card_is_described():
    assert any("capability" in finding.what for finding in devices.cards())
