"""The TrainingArguments of a configuration: what the probe trains with is what the frozen file holds."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
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
DEVICE = "device"
"""Beside the settings, the name of what asks for the device."""
_SAME_NAME = (s.MICRO_BATCH, s.ACCUMULATION, s.EVAL_BATCH, s.OPTIM, s.COMPILE, s.LIGER)


def training_arguments(
    configuration: Mapping[str, s.Scalar],
    device_kind: DeviceKind,
    transformers_version: str,
    taken: Collection[str] | None = None,
) -> dict[str, Any]:
    """Return the keyword arguments of `transformers.TrainingArguments` that hold a configuration.

    Settings that belong to the model and not to the Trainer (method, quantisation, attention) and to the process
    (`environment`) are not among them.

    Args:
        configuration: every setting by name.
        device_kind: `cpu` leaves TF32 out and asks the Trainer for the CPU.
        transformers_version: as `transformers.__version__` gives it; names changed between versions.
        taken: settings that are wanted (and `DEVICE`), and nothing else; None: all that there are.

    """
    version = _version(transformers_version)
    parts: dict[str, dict[str, Any]] = {
        **{name: {name: configuration[name]} for name in _SAME_NAME},
        s.PRECISION: _precision(configuration, device_kind),
        s.CHECKPOINTING: _checkpointing(configuration, version),
        s.SAMPLING: _sampling(configuration, version),
        **_loader(configuration),
        DEVICE: {"use_cpu": True} if device_kind == "cpu" else {},
    }
    kept = parts if taken is None else [name for name in parts if name in taken]
    return {key: value for name in kept for key, value in parts[name].items()}


def renew(arguments: object) -> None:
    """Have the library validate TrainingArguments anew and in place, whatever has been set in them since.

    They are not made anew: their class may have an `__init__` of its own. What it does in a `__post_init__` of its own
    it does once, as it expects. A dataclass that the library does not know stays as it is.
    """
    vars(arguments).pop("_setup_devices", None)  # kept by the library when first asked for
    kinds = type(arguments).__mro__
    library: Any = next((kind for kind in kinds if kind.__module__ == "transformers.training_args"), None)
    if library is not None:
        library.__post_init__(arguments)


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


def _loader(configuration: Mapping[str, s.Scalar]) -> dict[str, dict[str, Any]]:
    """Return the arguments of each of the loader's settings."""
    loader = {name: {name: configuration[name]} for name in (s.WORKERS, s.PIN_MEMORY)}
    # The Trainer refuses a prefetch factor without workers; workers that are not kept are forked anew every epoch.
    if configuration[s.WORKERS]:
        loader[s.WORKERS]["dataloader_persistent_workers"] = True
        loader[s.PREFETCH] = {s.PREFETCH: configuration[s.PREFETCH]}
    return loader


def without_workers(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that transformers and torch refuse without workers, at the values that they take."""
    return {} if settings.get(s.WORKERS) != 0 else {s.PREFETCH: None, "dataloader_persistent_workers": False}
