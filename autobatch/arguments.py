"""The TrainingArguments of a configuration: what the probe trains with is what the frozen file holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from autobatch import settings as s

DeviceKind = Literal["cuda", "cpu"]

ACTIVATION_CHECKPOINTING_SINCE = (5, 23)
"""First transformers version in which `gradient_checkpointing` is called `activation_checkpointing`."""
SAMPLING_STRATEGY_SINCE = (5, 2)
"""First transformers version in which `group_by_length` is a value of `train_sampling_strategy`."""
OPENMP = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "10000"}
"""How OpenMP's threads wait for each other: asleep, after 0.1 ms (libgomp's own variable, which goes first there).

libgomp's usual 3 ms take, on cores that are shared, the time of the very threads that are waited for: steps took four
times as long. Asleep at once they take a fifth longer on cores of their own.
"""
_SAME_NAME = (s.MICRO_BATCH, s.ACCUMULATION, s.EVAL_BATCH, s.OPTIM, s.COMPILE, s.LIGER)


def training_arguments(
    configuration: Mapping[str, s.Scalar],
    device_kind: DeviceKind,
    transformers_version: str,
) -> dict[str, Any]:
    """Return the keyword arguments of `transformers.TrainingArguments` that hold a configuration.

    Settings that belong to the model and not to the Trainer (method, quantisation, attention) and to the process
    (`environment`) are not among them.

    Args:
        configuration: every setting by name.
        device_kind: `cpu` leaves TF32 out and asks the Trainer for the CPU.
        transformers_version: as `transformers.__version__` gives it; names changed between versions.

    """
    version = _version(transformers_version)
    return {
        **{name: configuration[name] for name in _SAME_NAME},
        **_precision(configuration, device_kind),
        **_checkpointing(configuration, version),
        **_sampling(configuration, version),
        **_loader(configuration),
        **({"use_cpu": True} if device_kind == "cpu" else {}),
    }


def _version(text: str) -> tuple[int, int]:
    major, minor = re.findall(r"\d+", f"{text}.0")[:2]
    return int(major), int(minor)


def environment(configuration: Mapping[str, s.Scalar], device_kind: DeviceKind) -> dict[str, str | None]:
    """Return the environment variables of a configuration, which count only before torch starts; None: unset."""
    allocator = str(configuration[s.ALLOCATOR]) or None
    deprioritized = None if configuration[s.CUDNN_ATTENTION] or device_kind == "cpu" else "1"
    return {
        # the first counts from torch 2.10 on, and the second, which 2.13 reads first, must agree
        "PYTORCH_ALLOC_CONF": allocator,
        "PYTORCH_CUDA_ALLOC_CONF": allocator,
        "TORCH_CUDNN_SDPA_DEPRIORITIZED": deprioritized,
        **OPENMP,
    }


def _precision(configuration: Mapping[str, s.Scalar], device_kind: DeviceKind) -> dict[str, bool]:
    precision = configuration[s.PRECISION]
    mixed = {"bf16": precision == "bf16", "fp16": precision == "fp16"}
    # TF32 is a switch of the whole process: fp32 turns it off for certain, autocast leaves it as it is.
    if device_kind == "cuda" and precision in ("fp32", "tf32"):
        mixed["tf32"] = precision == "tf32"
    return mixed


def _checkpointing(configuration: Mapping[str, s.Scalar], version: tuple[int, int]) -> dict[str, Any]:
    # how it is done is left to the script, and to the library where that says nothing: without re-entering, since 5.2
    name = "activation_checkpointing" if version >= ACTIVATION_CHECKPOINTING_SINCE else s.CHECKPOINTING
    return {name: bool(configuration[s.CHECKPOINTING])}


def _sampling(configuration: Mapping[str, s.Scalar], version: tuple[int, int]) -> dict[str, Any]:
    if version >= SAMPLING_STRATEGY_SINCE:
        return {s.SAMPLING: configuration[s.SAMPLING]}
    return {"group_by_length": configuration[s.SAMPLING] == "group_by_length"}


def _loader(configuration: Mapping[str, s.Scalar]) -> dict[str, Any]:
    loader = {s.WORKERS: configuration[s.WORKERS], s.PIN_MEMORY: configuration[s.PIN_MEMORY]}
    # The Trainer refuses a prefetch factor without workers; workers that are not kept are forked anew every epoch.
    if configuration[s.WORKERS]:
        loader |= {s.PREFETCH: configuration[s.PREFETCH], "dataloader_persistent_workers": True}
    return loader
