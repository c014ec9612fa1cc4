"""Whether this machine has what a value of a setting needs; nothing is imported to find out."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from autobatch.errors import UsageError
from autobatch.job.space import Wishes
from autobatch.machine.fingerprint import Fingerprint
from autobatch.settings import (
    ALLOCATOR,
    ATTENTION,
    EXPANDABLE,
    LIGER,
    OPTIM,
    PRECISION,
    QUANTIZATION,
    SETTINGS,
    WORKERS,
    Scalar,
)

WORKERS_PER_CORE = 8
"""More DataLoader workers than this a core only take memory and time to start."""
_OF_CUDA = ((ATTENTION, "flash_attention_2"), (ATTENTION, "flash_attention_3"), (LIGER, True))
_BITSANDBYTES = (
    "adamw_bnb_8bit", "adamw_8bit", "ademamix", "ademamix_8bit", "lion_8bit", "lion_32bit", "paged_adamw_32bit",
    "paged_adamw_8bit", "paged_ademamix_32bit", "paged_ademamix_8bit", "paged_lion_32bit", "paged_lion_8bit",
    "rmsprop_bnb", "rmsprop_bnb_8bit", "rmsprop_bnb_32bit",
)  # fmt: skip
_PACKAGES: Mapping[tuple[str, Scalar], str] = MappingProxyType(
    {
        (ATTENTION, "flash_attention_2"): "flash_attn",
        (ATTENTION, "flash_attention_3"): "flash_attn_interface",
        (LIGER, True): "liger_kernel",
        (QUANTIZATION, "int8"): "bitsandbytes",
        (QUANTIZATION, "nf4"): "bitsandbytes",
        **{(OPTIM, name): "bitsandbytes" for name in _BITSANDBYTES},
        (OPTIM, "adamw_anyprecision"): "torchdistx",
        (OPTIM, "adamw_torch_4bit"): "torchao",
        (OPTIM, "adamw_torch_8bit"): "torchao",
        (OPTIM, "lomo"): "lomo_optim",
        (OPTIM, "adalomo"): "lomo_optim",
        (OPTIM, "grokadamw"): "grokadamw",
        (OPTIM, "schedule_free_radam"): "schedulefree",
        (OPTIM, "schedule_free_adamw"): "schedulefree",
        (OPTIM, "schedule_free_sgd"): "schedulefree",
        (OPTIM, "stable_adamw"): "optimi",
    }
)
"""The module that a value of a setting imports."""


def usable(wish: Wishes, precisions: tuple[str, ...], cores: int, device: str) -> Wishes:
    """Return the wishes, a setting searched without values at those of its usual ones that can be used here.

    Args:
        wish: what a person asked for.
        precisions: what the device can compute in.
        cores: CPU cores.
        device: `cpu` or `cuda:N`.

    Raises:
        UsageError: a value cannot be used on this device, with these cores or without a package that is not installed,
            or that leaves nothing to search.

    """
    place = _Place(precisions, cores, device)
    asked = [*wish.fix.items(), *((name, value) for name, values in wish.search.items() for value in values)]
    for name, value in asked:
        if (trouble := place.trouble(name, value)) is not None:
            raise trouble
    usual = frozenset(name for name, values in wish.search.items() if not values)
    return Wishes(wish.fix, {k: values or place.usual(k) for k, values in wish.search.items()}, usual)


def held(wish: Wishes, machine: Fingerprint) -> Wishes:
    """Return the wishes with what this machine is given where nothing was asked for: an allocator that grows segments.

    Padding brings ever new lengths, and with the usual segments each may need one more: what is reserved goes on
    growing long after a probe has ended. WSL2 and vGPUs have no such segments.
    """
    if machine.gpu is None or machine.wsl2 or machine.gpu.is_virtual or ALLOCATOR in wish.search:
        return wish
    return replace(wish, fix={ALLOCATOR: EXPANDABLE, **wish.fix})


class _Place:
    """The machine, as far as values of settings depend on it."""

    def __init__(self, precisions: tuple[str, ...], cores: int, device: str) -> None:
        self._precisions = precisions
        self._most_workers = WORKERS_PER_CORE * cores
        self._is_cpu = device == "cpu"

    def usual(self, name: str) -> tuple[Scalar, ...]:
        """Return the usual values that can be used here; nothing where the space knows them better."""
        setting = SETTINGS[name]
        if setting.searched:
            return ()
        trouble = {value: self.trouble(name, value) for value in setting.choices}
        found = tuple(value for value, error in trouble.items() if error is None)
        first = next((error for error in trouble.values() if error is not None), None)
        if first is not None and len(found) == 1:
            raise first
        return found

    def trouble(self, name: str, value: Scalar) -> UsageError | None:
        """Return why a value cannot be used here, or None."""
        said = f"{name}={value}"
        if name == PRECISION and value not in self._precisions:
            return UsageError(f"{said} is nothing that this device computes.", f"It has {', '.join(self._precisions)}.")
        if name == WORKERS and int(value) > self._most_workers:
            what = f"{said} is more than {WORKERS_PER_CORE} workers a core of this machine."
            return UsageError(what, f"Give at most {self._most_workers}.")
        if self._is_cpu and (name, value) in _OF_CUDA:
            return UsageError(f"{said} needs a GPU, and this search is on the CPU.", "Leave it out.")
        package = _PACKAGES.get((name, value))
        if package and importlib.util.find_spec(package) is None:
            return UsageError(f"{said} needs {package}, which is not installed here.", "Install it, or leave it out.")
        return None
