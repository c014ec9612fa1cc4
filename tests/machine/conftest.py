"""Recorded trees of /proc and /sys, and a recorded driver."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autobatch.machine import nvml

GIB = 2**30
Tree = Callable[[Mapping[str, str]], Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Make files below a folder that stands for /."""

    def make(files: Mapping[str, str]) -> Path:
        root = tmp_path / "root"
        for name, text in {"proc/meminfo": "MemTotal: 67108864 kB\nMemAvailable: 50331648 kB\n", **files}.items():
            path = root / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return root

    return make


class FakeError(Exception):
    """NVML's error, with its code."""

    value = 0

    def __init__(self, value: int | None = None) -> None:
        self.value = type(self).value if value is None else value
        super().__init__(f"NVML error {self.value}")


class FakeNvml(types.ModuleType):
    """As much of pynvml as is used, over a list of cards whose state a test may change."""

    NVMLError = FakeError
    NVML_ERROR_INVALID_ARGUMENT = 2
    NVML_ERROR_NOT_SUPPORTED = 3
    NVML_ERROR_NO_PERMISSION = 4
    NVML_ERROR_NOT_FOUND = 6
    NVML_ERROR_DRIVER_NOT_LOADED = 9
    NVML_ERROR_LIBRARY_NOT_FOUND = 12
    NVML_ERROR_GPU_IS_LOST = 15
    NVML_ERROR_LIB_RM_VERSION_MISMATCH = 18
    NVMLError_NotSupported = type("NotSupported", (FakeError,), {"value": 3})
    NVMLError_NoPermission = type("NoPermission", (FakeError,), {"value": 4})
    NVMLError_Timeout = type("Timeout", (FakeError,), {"value": 10})
    nvmlMemory_v2 = 2  # noqa: N815 - NVML's own name
    nvmlEventTypeXidCriticalError = 8  # noqa: N815 - NVML's own name
    NVML_GPU_VIRTUALIZATION_MODE_VGPU = 2

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.cards: list[dict[str, Any]] = []
        self.fails: dict[str, FakeError] = {}
        self.driver = "580.82.07"
        self.pending: list[int] = []

    def add(
        self, name: str = "NVIDIA H100 80GB HBM3", total: int = 80 * GIB, capability: tuple[int, int] = (9, 0)
    ) -> None:
        self.cards.append(
            {
                "name": name,
                "uuid": f"GPU-{len(self.cards):04d}-5678",
                "total": total,
                "used": 0,
                "reserved": GIB // 2,
                "capability": capability,
                "processes": [],
                "samples": [],
                "energy": 5_000_000,
            },
        )

    def __getattribute__(self, name: str) -> Any:
        fails = object.__getattribute__(self, "__dict__").get("fails", {})
        if name in fails:

            def fail(*_: object, **__: object) -> None:
                raise fails[name]

            return fail
        return super().__getattribute__(name)

    def nvmlInit(self) -> None: ...  # noqa: N802 - NVML's own names, here and below

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return self.driver

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:  # noqa: N802
        return self.cards[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> dict[str, Any]:  # noqa: N802
        for card in self.cards:
            if card["uuid"] == uuid:
                return card
        raise FakeError(self.NVML_ERROR_NOT_FOUND)

    def nvmlDeviceGetName(self, card: dict[str, Any]) -> str:  # noqa: N802
        return card["name"]

    def nvmlDeviceGetUUID(self, card: dict[str, Any]) -> bytes:  # noqa: N802
        return card["uuid"].encode()

    def nvmlDeviceGetCudaComputeCapability(self, card: dict[str, Any]) -> tuple[int, int]:  # noqa: N802
        return card["capability"]

    def nvmlDeviceGetMemoryInfo(self, card: dict[str, Any], version: int | None = None) -> SimpleNamespace:  # noqa: N802
        kept = 0 if version else card["reserved"]
        return SimpleNamespace(total=card["total"], used=card["used"] + kept)

    def nvmlDeviceGetComputeRunningProcesses(self, card: dict[str, Any]) -> list[SimpleNamespace]:  # noqa: N802
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in card["processes"]]

    def nvmlDeviceGetGraphicsRunningProcesses(self, _: dict[str, Any]) -> list[SimpleNamespace]:  # noqa: N802
        raise self.NVMLError_NotSupported

    def nvmlDeviceGetUtilizationRates(self, _: dict[str, Any]) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(gpu=37)

    def nvmlDeviceGetProcessUtilization(self, card: dict[str, Any], since_us: int) -> list[SimpleNamespace]:  # noqa: N802
        found = [sample for sample in card["samples"] if sample.timeStamp > since_us]
        if not found:
            raise FakeError(self.NVML_ERROR_NOT_FOUND)
        return found

    def nvmlDeviceGetTotalEnergyConsumption(self, card: dict[str, Any]) -> int:  # noqa: N802
        if card["energy"] is None:
            raise self.NVMLError_NotSupported
        return card["energy"]

    def nvmlDeviceGetVirtualizationMode(self, card: dict[str, Any]) -> int:  # noqa: N802
        return card.get("mode", 0)

    def nvmlDeviceGetPowerUsage(self, _: dict[str, Any]) -> int:  # noqa: N802
        return 350_000

    def nvmlEventSetCreate(self) -> list[int]:  # noqa: N802
        return self.pending

    def nvmlDeviceRegisterEvents(self, *_: object) -> None: ...  # noqa: N802

    def nvmlEventSetWait_v2(self, pending: list[int], _: int) -> SimpleNamespace:  # noqa: N802
        if not pending:
            raise self.NVMLError_Timeout
        return SimpleNamespace(eventData=pending.pop(0))


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A recorded driver in the place of pynvml."""
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvml._initialised.cache_clear()
    yield fake
    nvml._initialised.cache_clear()
