"""Answers to questions about the GPU that libraries ask while they are imported, without initialising CUDA.

A process that has initialised CUDA cannot be forked into one that uses it. Importing peft or the Trainer with
bitsandbytes installed asks for compute capability and device count; NVML knows both.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any


class _Nvml:
    """The devices that CUDA would show, described by NVML; torch's device arguments are understood."""

    def __init__(self) -> None:
        import pynvml

        self._nvml = pynvml
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
        self._handles = _visible([pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(count)], self._uuid)

    def _uuid(self, handle: Any) -> str:  # noqa: ANN401 - pynvml has no types
        return str(self._nvml.nvmlDeviceGetUUID(handle))

    def device_count(self) -> int:
        return len(self._handles)

    def get_device_capability(self, device: object = None) -> tuple[int, int]:
        major, minor = self._nvml.nvmlDeviceGetCudaComputeCapability(self._handles[_index(device)])
        return int(major), int(minor)

    def get_device_properties(self, device: object = None) -> SimpleNamespace:
        handle = self._handles[_index(device)]
        major, minor = self.get_device_capability(device)
        total = int(self._nvml.nvmlDeviceGetMemoryInfo(handle).total)
        name = str(self._nvml.nvmlDeviceGetName(handle))
        return SimpleNamespace(name=name, major=major, minor=minor, total_memory=total, uuid=self._uuid(handle))


def _index(device: object) -> int:
    """Return the number in what torch takes for a device: None, 0, "cuda:0" or a torch.device."""
    if isinstance(device, int):
        return device
    _, _, number = str(device).partition(":")
    return int(number) if number.isdigit() else 0


def _visible(handles: list[Any], uuid: Any) -> list[Any]:  # noqa: ANN401 - pynvml has no types
    """Return the handles that CUDA_VISIBLE_DEVICES leaves, in its order; CUDA stops at the first bad entry."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return handles
    found = []
    for entry in (part.strip() for part in listed.split(",")):
        by_number = handles[int(entry)] if entry.isdigit() and int(entry) < len(handles) else None
        handle = by_number or next((h for h in handles if entry and uuid(h).startswith(entry)), None)
        if handle is None:
            break
        found.append(handle)
    return found


@contextlib.contextmanager
def answers_from_nvml() -> Iterator[None]:
    """Let torch.cuda's questions about devices be answered by NVML inside the block.

    Without a GPU there is nothing to initialise, and nothing is changed.
    """
    import torch

    try:
        nvml = _Nvml()
    except Exception:  # noqa: BLE001 - NVML missing, or refusing in its own ways: no NVIDIA GPU here
        yield
        return
    names = ("device_count", "get_device_capability", "get_device_properties")
    originals = {name: getattr(torch.cuda, name) for name in names}
    for name in names:
        setattr(torch.cuda, name, getattr(nvml, name))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(torch.cuda, name, original)
