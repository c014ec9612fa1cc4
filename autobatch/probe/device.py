"""The memory and the clock of the device: a CUDA card, or the host's memory where training runs on the CPU."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from autobatch.arguments import environment
from autobatch.errors import MachineError
from autobatch.machine.gpus import Device, open_device
from autobatch.machine.memory import host_limit
from autobatch.request import ProbeRequest

T = TypeVar("T")
Moment = Callable[[], float | None]
"""Returns when the device came to it, in seconds of `time.perf_counter`; None while it has not."""

LIBRARIES_BYTES = 700 * 2**20
"""What kernels and libraries add to a fresh context while training runs: about 1.2 GiB in all on an H100."""


def prepare_environment(request: ProbeRequest) -> None:
    """Set what CUDA and its libraries read when they start, and show this card alone."""
    for name, value in environment(request.configuration, "cpu" if request.device == "cpu" else "cuda").items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    show_alone(request.device)


def show_alone(device: str) -> None:
    """Hide every card but this one: it is `cuda:0` then, and the Trainer does not spread the batch over others."""
    kind, _, index = device.partition(":")
    if kind == "cuda":
        # CUDA's own order has the fastest card first; NVML's, by which it is locked and watched, is that of the bus
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        shown = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        os.environ["CUDA_VISIBLE_DEVICES"] = shown[int(index or 0)] if shown else index or "0"


@dataclass(frozen=True)
class Peak:
    """The most memory since the last reset, in bytes; a figure is None where the device does not have it."""

    used: int
    allocated: int | None = None
    reserved: int | None = None
    context: int | None = None
    retries: int | None = None


class Meter(Protocol):
    """Memory of the device, as this process uses it."""

    total_bytes: int
    card: str | None
    """Name of the card; None on the CPU."""

    def start(self) -> None:
        """Make the device ready: its context, and the cap on its memory."""

    def peak(self) -> Peak:
        """Return the peak since the last reset."""

    def reset(self) -> None:
        """Forget the peak."""

    def part_over(self) -> None:
        """Forget the peak, and give back what is cached, so that the next peak is the next part's own."""

    def synchronize(self) -> None:
        """Wait until all work is done."""

    def moment(self) -> Moment:
        """Mark the end of the work so far, without waiting for it."""

    def energy_j(self) -> float | None:
        """Return a counter of energy; None where there is none."""

    def utilization(self) -> float | None:
        """Return the share of the last moments in which a kernel ran; None where nobody tells."""


def open_meter(request: ProbeRequest) -> Meter:
    """Return the meter of the request's device."""
    if request.device.startswith("cuda"):
        return CudaMeter(request.limits.device_bytes)
    return HostMeter(request.limits.device_bytes)


def _told(ask: Callable[[], T]) -> T | None:
    """Return an answer of NVML, or None where it has none for us."""
    with suppress(MachineError):
        return ask()
    return None


def _event() -> Any:  # noqa: ANN401 - torch's own is not typed
    """Return an event at the end of the stream."""
    event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event


class CudaMeter:
    """The one visible CUDA card.

    Args:
        cap_bytes: size of the card to emulate; None for the whole card.

    """

    def __init__(self, cap_bytes: int | None) -> None:
        self._nvml: Device | None = _told(lambda: open_device(0))
        self._cap = cap_bytes
        self._others = self._card_used() or 0
        self._zero: tuple[Any, float] | None = None
        self.total_bytes = 0
        self.card: str | None = None

    def start(self) -> None:
        """Create the context, then cap the allocator, context and libraries subtracted."""
        torch.cuda.synchronize()
        properties = torch.cuda.get_device_properties(0)
        total, self.card = properties.total_memory, properties.name
        self.total_bytes = min(self._cap or total, total)
        room = max(0, self.total_bytes - self._context() - LIBRARIES_BYTES)
        # Below 1 in any case: a driver that spills to the host's memory (WSL2) would not fail but crawl.
        torch.cuda.set_per_process_memory_fraction(room / total, 0)

    def _card_used(self) -> int | None:
        device = self._nvml
        return None if device is None else _told(device.memory_used_bytes)

    def _context(self) -> int:
        used = self._card_used()
        if used is None:
            free, total = torch.cuda.mem_get_info(0)
            used = total - free
        return max(0, used - self._others - torch.cuda.memory_reserved(0))

    def peak(self) -> Peak:
        """Return the allocator's peaks, and what the card reports: reserved + context + libraries."""
        reserved, context = torch.cuda.max_memory_reserved(0), self._context()
        retries = int(torch.cuda.memory_stats(0).get("num_alloc_retries", 0))
        return Peak(reserved + context, torch.cuda.max_memory_allocated(0), reserved, context, retries)

    def reset(self) -> None:
        """Forget the allocator's peaks."""
        torch.cuda.reset_peak_memory_stats(0)

    def part_over(self) -> None:
        """Give back what is cached, then forget the peaks: a cache would hide what a smaller part needs."""
        torch.cuda.empty_cache()
        self.reset()

    def synchronize(self) -> None:
        """Wait for every kernel, and set the card's clock by ours anew: they drift apart by milliseconds a minute."""
        torch.cuda.synchronize(0)
        self._zero = self._now()

    def moment(self) -> Moment:
        """Mark the end of the work so far: an event in the stream, whose time the card itself takes."""
        zero, began_s = self._zero = self._zero or self._now()
        event = _event()
        return lambda: began_s + zero.elapsed_time(event) / 1000 if event.query() else None

    @staticmethod
    def _now() -> tuple[Any, float]:
        """Return an event of now, when all work is done, and its time."""
        event = _event()
        event.synchronize()
        return event, time.perf_counter()

    def energy_j(self) -> float | None:
        """Return the card's energy counter."""
        device = self._nvml
        return None if device is None else _told(device.energy_j)

    def utilization(self) -> float | None:
        """Return the card's utilisation, the driver's last sample."""
        device = self._nvml
        return None if device is None else _told(device.utilization)


class HostMeter:
    """The host's memory as this process has it resident; nothing caps it but the cgroup around it.

    Args:
        cap_bytes: size of the memory to emulate; None for the host's tightest limit.

    """

    card: str | None = None

    def __init__(self, cap_bytes: int | None) -> None:
        self.total_bytes = cap_bytes or host_limit().bytes

    def start(self) -> None:
        """Do nothing: the host is ready."""

    def peak(self) -> Peak:
        """Return the high-water mark of resident memory."""
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        kib = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
        return Peak(kib * 1024)

    def reset(self) -> None:
        """Bring the high-water mark down to what is resident now."""
        with suppress(OSError):  # some sandboxes forbid it; then the peak is that of the whole probe
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def part_over(self) -> None:
        """Bring the high-water mark down; what the process keeps for itself stays resident."""
        self.reset()

    def synchronize(self) -> None:
        """Do nothing: the CPU is never ahead of us."""

    def moment(self) -> Moment:
        """Return this moment."""
        now = time.perf_counter()
        return lambda: now

    def energy_j(self) -> float | None:
        """Return None: the host does not count it for one process."""

    def utilization(self) -> float | None:
        """Return None: there is no card."""
