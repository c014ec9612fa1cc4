"""A GPU as the rest of the program sees it: what it is, and what can be asked of it while something runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Gpu:
    """What a GPU is: nothing here changes while the driver stays."""

    index: int
    """Its number in CUDA, after CUDA_VISIBLE_DEVICES: `cuda:INDEX`."""
    name: str
    uuid: str
    total_bytes: int
    capability: tuple[int, int]
    """CUDA compute capability, (9, 0) for an H100."""
    driver: str
    is_virtual: bool = False
    """A vGPU, whose driver usually cannot map memory that grows."""


@dataclass(frozen=True)
class GpuProcess:
    """A process on a GPU. In a container NVML may give the host's process ids, or hide others' altogether."""

    pid: int
    used_bytes: int | None
    """None where the driver does not tell (WSL2, some containers)."""


class Device(Protocol):
    """A GPU to ask while something runs. A recorded one can stand behind this, too."""

    @property
    def gpu(self) -> Gpu:
        """What it is."""

    def memory_used_bytes(self) -> int:
        """Memory in use on the whole card, by everybody, without what the driver keeps for itself."""

    def memory_total_bytes(self) -> int:
        """Return the size of the card."""

    def processes(self) -> tuple[GpuProcess, ...]:
        """Return the processes on it, each once, by process id."""

    def process_ids(self) -> list[int]:
        """Return the ids of the processes on it."""

    def utilization(self) -> float:
        """Return the share of the last sampling period in which a kernel ran."""

    def loads(self) -> dict[int, float]:
        """Return the share of the time in which each process's kernels ran, by process id.

        Since the last call, and within the last second; those that ran none are left out. Nothing where the driver
        does not tell.
        """

    def energy_j(self) -> float | None:
        """Return the energy used since the driver was loaded; None where it is not counted (before Volta)."""

    def power_w(self) -> float | None:
        """Return the power drawn now; None where it is not measured."""

    def xids(self) -> tuple[int, ...]:
        """Return the Xid errors since the last call; none where events are not to be had."""

    def check(self) -> None:
        """Raise GpuLostError if the GPU does not answer any more."""
