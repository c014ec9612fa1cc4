"""What should fit on a card, arm by arm, before anything runs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from autobatch import settings
from autobatch.estimate import compute, memory
from autobatch.estimate.cards import Card
from autobatch.estimate.host import predict_host
from autobatch.settings import Configuration, divisors, is_consistent
from autobatch.workload.spec import Workload

DEVICE_SHARE = 0.85
HOST_SHARE = 0.80
SIGMAS = 2.0
"""A micro-batch fits where its prediction, this many standard deviations up, stays below the limit."""
WORKERS = (0, 1, 2, 4, 8, 16)
_METHODS = (("full", "none"), ("lora", "none"), ("lora", "nf4"))
_FREE_LARGEST = 256


@dataclass(frozen=True)
class ArmPlan:
    """One arm on one card.

    Attributes:
        configuration: the arm, at micro-batch 1.
        smallest: predicted memory at micro-batch 1; None where the card cannot compute so.
        per_sample_bytes: what each further sample adds, in the middle of the range.
        fits: the largest micro-batch that should fit; 0 where none does.
        tight: the largest micro-batch whose prediction is below the limit, if only just; 0 where none is.
        fits_bytes: predicted memory at `fits`, as the card would report it.
        samples_per_s: rough throughput at `fits`, on the longest batch; None where the card's speed is not known.
        reason: why the arm is ruled out; empty where it is not.

    """

    configuration: Configuration
    smallest: memory.Prediction | None
    per_sample_bytes: int = 0
    fits: int = 0
    tight: int = 0
    fits_bytes: int = 0
    samples_per_s: float | None = None
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        names = (settings.METHOD, settings.QUANTIZATION, settings.PRECISION, settings.CHECKPOINTING, settings.OPTIM)
        return {
            **{name: self.configuration[name] for name in names},
            "used_bytes_at_1": self.smallest.used_bytes if self.smallest else None,
            "rel_sigma": self.smallest.rel_sigma if self.smallest else None,
            "parts_at_1": self.smallest.parts if self.smallest else None,
            "bytes_per_sample": self.per_sample_bytes,
            "fits": self.fits,
            "tight": self.tight,
            "used_bytes_at_fits": self.fits_bytes,
            "samples_per_s": self.samples_per_s,
            "ruled_out": self.reason or None,
        }


def plan(workload: Workload, card: Card, *, share: float = DEVICE_SHARE) -> list[ArmPlan]:
    """Plan every arm of a workload on a card, within a share of its memory."""
    return [_plan_arm(workload, card, arm, round(card.memory_bytes * share)) for arm in arms(card)]


def arms(card: Card) -> Iterator[Configuration]:
    """Return the arms that differ in memory: methods, a half and a full precision, checkpointing, optimizers."""
    half = "bf16" if card.supports("bf16") else "fp16"
    full = "tf32" if card.supports("tf32") else "fp32"
    optims = ("adamw_torch_fused", "adamw_8bit")
    for (method, kind), precision, checkpointing, optim in itertools.product(
        _METHODS, (half, full), (False, True), optims
    ):
        arm = Configuration(
            method=method, quantization=kind, precision=precision, gradient_checkpointing=checkpointing, optim=optim
        )
        small_state = method == "lora" and optim != "adamw_torch_fused"
        if is_consistent(arm) and not small_state and not (kind == "nf4" and precision == full):
            yield arm


def micro_batches(workload: Workload) -> tuple[int, ...]:
    """Return the micro-batches that divide the effective batch; powers of two where it is free."""
    if workload.effective_batch:
        return divisors(workload.effective_batch)
    return tuple(2**n for n in range(int(math.log2(_FREE_LARGEST)) + 1))


def host_table(workload: Workload, micro_batch: int) -> list[tuple[int, memory.Prediction]]:
    """Return predicted host memory by number of DataLoader workers."""
    base = Configuration(per_device_train_batch_size=micro_batch)
    return [(n, predict_host(workload, base.replace(dataloader_num_workers=n))) for n in WORKERS]


def largest(workload: Workload, arm: Configuration, sizes: tuple[int, ...], limit: int, sigmas: float = 0.0) -> int:
    """Return the largest size whose prediction, some standard deviations up, is within the limit, by bisection."""
    low, high = -1, len(sizes)
    while high - low > 1:
        middle = (low + high) // 2
        found = _predict(workload, arm, sizes[middle])
        within = found.bytes * math.exp(sigmas * found.rel_sigma) + found.context_bytes <= limit
        low, high = (middle, high) if within else (low, middle)
    return sizes[low] if low >= 0 else 0


def _plan_arm(workload: Workload, card: Card, arm: Configuration, limit: int) -> ArmPlan:
    sizes = micro_batches(workload)
    predicted = {size: _predict(workload, arm, size) for size in sizes[:1]}
    first = predicted[sizes[0]]
    if first.used_bytes > limit:
        return ArmPlan(arm, first, reason=f"needs {first.used_bytes / memory.GIB:.1f} GiB at micro-batch {sizes[0]}")
    tight = largest(workload, arm, sizes, limit)
    fits = largest(workload, arm, sizes, limit, SIGMAS)
    at_fits = _predict(workload, arm, fits) if fits else first
    other = 2 * sizes[-1] if tight == sizes[0] else tight
    slope = (_predict(workload, arm, other).bytes - first.bytes) // max(other - sizes[0], 1)
    return ArmPlan(
        arm,
        first,
        max(slope, 0),
        fits,
        tight,
        at_fits.used_bytes if fits else 0,
        _samples_per_s(workload, card, arm, fits) if fits else None,
        "" if fits else "fits only if the prediction is not too low",
    )


def _predict(workload: Workload, arm: Configuration, size: int) -> memory.Prediction:
    return memory.predict(workload, _at(workload, arm, size))


def _at(workload: Workload, arm: Configuration, size: int) -> Configuration:
    accumulation = max((workload.effective_batch or size) // size, 1)
    return arm.replace(per_device_train_batch_size=size, gradient_accumulation_steps=accumulation)


def _samples_per_s(workload: Workload, card: Card, arm: Configuration, size: int) -> float | None:
    if not card.bandwidth_bytes_s:
        return None
    return size / compute.predict_time(workload, _at(workload, arm, size), card).seconds
