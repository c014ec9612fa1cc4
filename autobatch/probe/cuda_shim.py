"""Answers to questions about the GPU that libraries ask while they are imported, without initialising CUDA.

A process that has initialised CUDA cannot be forked into one that uses it. Importing peft or the Trainer with
bitsandbytes installed asks for compute capability and device count; NVML knows both.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace

from autobatch.machine.gpus import Gpu, list_gpus


@contextlib.contextmanager
def answers_from_nvml() -> Iterator[None]:
    """Let torch.cuda's questions about devices be answered by NVML inside the block.

    Without a GPU there is nothing to initialise, and nothing is changed.
    """
    import torch

    answers = _answers(list_gpus())
    originals = {name: getattr(torch.cuda, name) for name in answers}
    for name, answer in answers.items():
        setattr(torch.cuda, name, answer)
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(torch.cuda, name, original)


def _answers(gpus: list[Gpu]) -> Mapping[str, Callable[..., object]]:
    """Return stand-ins for the functions of torch.cuda; none without a GPU."""
    if not gpus:
        return {}

    def get_device_capability(device: object = None) -> tuple[int, int]:
        return gpus[_index(device)].capability

    def get_device_properties(device: object = None) -> SimpleNamespace:
        gpu = gpus[_index(device)]
        major, minor = gpu.capability
        return SimpleNamespace(name=gpu.name, uuid=gpu.uuid, total_memory=gpu.total_bytes, major=major, minor=minor)

    return {
        "device_count": lambda: len(gpus),
        "get_device_capability": get_device_capability,
        "get_device_properties": get_device_properties,
    }


def _index(device: object) -> int:
    """Return the number in what torch takes for a device: None, 0, "cuda:0" or a torch.device."""
    if isinstance(device, int):
        return device
    _, _, number = str(device).partition(":")
    return int(number) if number.isdigit() else 0
