"""The vocabulary: settings, configurations and the search space. It imports nobody else in the package."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Scalar = bool | int | float | str
Group = Literal["batch", "device", "loader", "eval"]

MICRO_BATCH = "per_device_train_batch_size"
ACCUMULATION = "gradient_accumulation_steps"
EVAL_BATCH = "per_device_eval_batch_size"
WORKERS = "dataloader_num_workers"
PREFETCH = "dataloader_prefetch_factor"
PIN_MEMORY = "dataloader_pin_memory"
PRECISION = "precision"
CHECKPOINTING = "gradient_checkpointing"
OPTIM = "optim"
METHOD = "method"
QUANTIZATION = "quantization"
ATTENTION = "attn_implementation"
LIGER = "use_liger_kernel"
COMPILE = "torch_compile"
SAMPLING = "train_sampling_strategy"
ALLOCATOR = "pytorch_alloc_conf"
CUDNN_ATTENTION = "cudnn_attention"
OF_THE_PROCESS = (ALLOCATOR, CUDNN_ATTENTION)
"""Settings that any script has: they are of its process."""
OF_TRAINING = (MICRO_BATCH, ACCUMULATION, CHECKPOINTING, OPTIM, SAMPLING)
"""Settings that concern training alone: evaluation is the same with each of their values."""

EXPANDABLE = "expandable_segments:True"
"""Value of the allocator's setting with which its segments grow, and what it reserves stays near what is in use."""
LARGEST_BATCH = 1_000_000
"""Samples in one optimizer step, or on one device, that are certainly a mistake above."""


@dataclass(frozen=True)
class Setting:
    """One tunable, named by its Hugging Face key where it has one."""

    name: str
    default: Scalar
    choices: tuple[Scalar, ...]
    """Values tried when it is searched. Empty where the workload decides them (the effective batch's divisors)."""
    group: Group
    """`device` settings make up the arm, `batch` is the micro-batch, `loader` and `eval` settings are tuned after."""
    searched: bool = False
    """Whether it is searched unless told otherwise."""
    changes_result: bool = False
    """Whether it may change the trained model's quality; such a setting is searched only when asked for."""
    accepted: tuple[str, ...] = ()
    """Values besides `choices` that it takes when they are named."""


OPTIMIZERS = (
    "adamw_torch", "adamw_anyprecision", "adamw_torch_4bit", "adamw_torch_8bit", "ademamix", "sgd", "adagrad",
    "adamw_bnb_8bit", "ademamix_8bit", "lion_8bit", "lion_32bit", "paged_adamw_32bit", "paged_ademamix_32bit",
    "paged_ademamix_8bit", "paged_lion_32bit", "paged_lion_8bit", "rmsprop", "rmsprop_bnb", "rmsprop_bnb_8bit",
    "rmsprop_bnb_32bit", "lomo", "adalomo", "grokadamw", "schedule_free_radam", "schedule_free_adamw",
    "schedule_free_sgd", "stable_adamw",
)  # fmt: skip
"""transformers' further names, but those of other devices (XLA, NPU) and with target modules (GaLore, APOLLO)."""

_ALL = (
    Setting(MICRO_BATCH, 1, (), "batch", searched=True),
    Setting(ACCUMULATION, 1, (), "batch"),
    Setting(METHOD, "full", ("full", "lora"), "device", changes_result=True),
    Setting(QUANTIZATION, "none", ("none", "int8", "nf4"), "device", changes_result=True),
    Setting(PRECISION, "fp32", ("fp32", "tf32", "bf16", "fp16"), "device", searched=True),
    Setting(CHECKPOINTING, default=False, choices=(False, True), group="device", searched=True),
    Setting(
        OPTIM,
        "adamw_torch_fused",
        ("adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "adafactor"),
        "device",
        changes_result=True,
        accepted=OPTIMIZERS,
    ),
    Setting(
        ATTENTION,
        "sdpa",
        ("eager", "sdpa", "flash_attention_2"),
        "device",
        accepted=("flash_attention_3", "flex_attention"),
    ),
    Setting(LIGER, default=False, choices=(False, True), group="device"),
    Setting(COMPILE, default=False, choices=(False, True), group="device"),
    Setting(SAMPLING, "random", ("random", "group_by_length"), "device"),
    Setting(ALLOCATOR, "", ("", EXPANDABLE), "device"),
    # cuDNN plans its attention anew for every pair of lengths: on an H100 a KoBART step on a new length takes 0.5 s
    # instead of 0.07 s, and nearly every padded batch of real text has a new length
    Setting(CUDNN_ATTENTION, default=False, choices=(False, True), group="device"),
    Setting(WORKERS, 2, (0, 1, 2, 3, 4, 6, 8, 12, 16), "loader", searched=True),
    Setting(PREFETCH, 2, (2, 4, 8), "loader"),
    Setting(PIN_MEMORY, default=True, choices=(False, True), group="loader"),
    Setting(EVAL_BATCH, 8, (1, 2, 4, 8, 16, 32, 64, 128, 256), "eval", searched=True),
)
SETTINGS: Mapping[str, Setting] = MappingProxyType({setting.name: setting for setting in _ALL})
ARM_KEYS = tuple(setting.name for setting in _ALL if setting.group == "device")


class Configuration(Mapping[str, Scalar]):
    """An immutable, hashable set of settings; a setting that is not named has its default.

    Raises:
        KeyError: a name that is no setting.

    """

    __slots__ = ("_hash", "_values")

    def __init__(self, values: Mapping[str, Scalar] | None = None, **more: Scalar) -> None:
        merged = {**(values or {}), **more}
        for name in merged:
            if name not in SETTINGS:
                raise KeyError(name)
        self._values: dict[str, Scalar] = {name: merged.get(name, s.default) for name, s in SETTINGS.items()}
        self._hash = hash(tuple(self._values.items()))

    def __getitem__(self, name: str) -> Scalar:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        changed = {k: v for k, v in self._values.items() if v != SETTINGS[k].default}
        return f"Configuration({changed})"

    @property
    def micro_batch(self) -> int:
        """Samples in one forward and backward pass on one device."""
        return int(self[MICRO_BATCH])

    @property
    def accumulation(self) -> int:
        """Micro-steps in one optimizer step."""
        return int(self[ACCUMULATION])

    @property
    def arm(self) -> tuple[Scalar, ...]:
        """Values of `ARM_KEYS`: all that memory and time depend on, but the micro-batch."""
        return tuple(self._values[name] for name in ARM_KEYS)

    @property
    def digest(self) -> str:
        """A stable name for this configuration: 16 hexadecimal digits."""
        text = json.dumps(self._values, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def replace(self, values: Mapping[str, Scalar] | None = None, **more: Scalar) -> Configuration:
        """Return this configuration with some settings changed."""
        return Configuration({**self._values, **(values or {}), **more})

    def to_dict(self) -> dict[str, Scalar]:
        """Return every setting by name, JSON-ready."""
        return dict(self._values)


def divisors(number: int) -> tuple[int, ...]:
    """Return the divisors of a number from 1 to `LARGEST_BATCH`, ascending.

    Raises:
        ValueError: the number is not in that range.

    """
    if not 1 <= number <= LARGEST_BATCH:
        message = f"{number} is not from 1 to {LARGEST_BATCH}"
        raise ValueError(message)
    low = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    return tuple(sorted({*low, *(number // n for n in low)}))


@dataclass(frozen=True)
class SearchSpace:
    """What may vary, what is fixed, and the constraint that ties micro-batch to accumulation.

    Attributes:
        fixed: settings held at one value (over their defaults).
        searched: settings that vary, with their values in order of preference.
        effective_batch: samples per optimizer step over all devices, held exactly; None frees it.
        devices: data-parallel devices.

    """

    fixed: Mapping[str, Scalar]
    searched: Mapping[str, tuple[Scalar, ...]]
    effective_batch: int | None
    devices: int = 1

    @property
    def micro_batches(self) -> tuple[int, ...]:
        """Micro-batches in the space, ascending."""
        if MICRO_BATCH in self.searched:
            return tuple(sorted(int(value) for value in self.searched[MICRO_BATCH]))
        if MICRO_BATCH in self.fixed:
            return (int(self.fixed[MICRO_BATCH]),)
        return divisors((self.effective_batch or 1) // self.devices)

    def arms(self) -> tuple[Configuration, ...]:
        """One configuration an arm, at the smallest micro-batch and with the first loader and eval values."""
        names = [name for name in ARM_KEYS if name in self.searched]
        products = itertools.product(*(self.searched[name] for name in names))
        arms = (self.at(dict(zip(names, values, strict=True)), self.micro_batches[0]) for values in products)
        return tuple(dict.fromkeys(arm for arm in arms if is_consistent(arm)))

    def at(self, values: Mapping[str, Scalar], micro_batch: int) -> Configuration:
        """Return the configuration with these values, the fixed ones, and the accumulation that follows.

        Raises:
            ValueError: the micro-batch times the devices does not divide the effective batch.

        """
        first = {name: choices[0] for name, choices in self.searched.items() if name != MICRO_BATCH}
        accumulation = int(self.fixed.get(ACCUMULATION, 1))
        if self.effective_batch is not None:
            accumulation, rest = divmod(self.effective_batch, micro_batch * self.devices)
            if rest:
                message = f"{micro_batch} x {self.devices} does not divide {self.effective_batch}"
                raise ValueError(message)
        batch = {MICRO_BATCH: micro_batch, ACCUMULATION: accumulation}
        return Configuration({**first, **self.fixed, **values, **batch})

    def grid(self) -> tuple[Configuration, ...]:
        """Every arm at every micro-batch, in order."""
        return tuple(self.at({k: arm[k] for k in ARM_KEYS}, b) for arm in self.arms() for b in self.micro_batches)


def is_consistent(configuration: Configuration) -> bool:
    """Tell whether the settings go together: a quantised base needs an adapter to train."""
    return configuration[QUANTIZATION] == "none" or configuration[METHOD] != "full"
