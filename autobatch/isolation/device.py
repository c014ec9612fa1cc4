"""The card from outside, while a probe runs: its peak, and whether others moved in or did more than before."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping

from autobatch.errors import MachineError
from autobatch.isolation.evidence import DeviceFacts
from autobatch.machine.gpus import Device, GpuLostError

_TOLERANCE_BYTES = 128 << 20
"""Used memory may differ by this before and after with nobody else on the card.

One process that was there before may grow by as much: a desktop's windows come and go in tens of MiB, while a training
that begins takes hundreds for its CUDA context alone. More would count as the probe's own, or push it out of memory.
"""
FOREIGN_LOAD = 0.2
"""Share of the time in which others' kernels run that a measurement can live with: up to it they are idle.

Kernels of two processes take turns, so others' load lengthens a step by about as much. A desktop computes now and then;
a training nearly all the time, and still half of it where it takes turns with the probe.
"""
_BUSY_SAMPLES = 2
"""A process rises from idle when this many of the driver's samples find it busy, each of a sixth of a second to one.

A desktop that redraws fills one; work fills one after the other.
"""
_RELEASE_S = 5.0
"""The driver may still be giving back a dead process's memory for this long."""
_PATIENCE_S = 1.0
"""A first reading that fails is taken again for this long: all later ones are held against it."""
_AGAIN_S = 0.05


class DeviceWatch:
    """Readings of one card from before a probe to after its end.

    One that fails is unknown, and neither 0 nor the end of the search: NVML fails now and then while the card goes on.
    What can only be told by it is then not told.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._lost: str | None = None
        self._added: int | None = None
        self._peak = 0
        self._moved_in = False
        self._xids: list[int] = []
        self._read_xids()
        self._xids.clear()
        self._before = self._used_within(_PATIENCE_S)
        self._tenants = self._memory_by_process()
        at_work = {pid for pid, load in self._loads().items() if load > FOREIGN_LOAD}
        # one that was at work before the probe takes from every measurement alike
        self._idle = (self._tenants or {}).keys() - at_work
        self._busy_samples: Counter[int] = Counter()

    def sample(self, tree: Iterable[int]) -> int | None:
        """Take a reading; `tree` are the probe's processes.

        Returns:
            Used bytes beyond those of others before, by the last reading that did not fail; None where there is none.

        """
        used = self._used()
        if used is not None and self._before is not None:
            self._added = max(0, used - self._before)
            self._peak = max(self._peak, self._added)
        memory = self._memory_by_process()
        if self._tenants is not None and memory is not None:
            self._moved_in |= _holds_stranger(memory.keys() - self._tenants.keys(), set(tree))
            self._moved_in |= _has_grown(self._tenants, memory)
        self._moved_in |= self._has_risen()
        return self._added

    def finish(self) -> DeviceFacts:
        """Wait for the dead probe's memory to be given back, and return what was seen."""
        most = math.inf if self._before is None else self._before + _TOLERANCE_BYTES
        after = self._used_within(_RELEASE_S, most)
        self._read_xids()
        return DeviceFacts(
            others_before_bytes=self._before,
            others_after_bytes=after,
            others_moved_in=self._moved_in or (after is not None and after > most),
            peak_used_bytes=self._peak or None,
            total_bytes=self._device.gpu.total_bytes,
            lost=self._lost,
            xids=tuple(self._xids),
        )

    def _used_within(self, patience_s: float, most: float = math.inf) -> int | None:
        """Take readings until one is known, and `most` at most, or patience ends; return the last."""
        deadline = time.monotonic() + patience_s
        while (used := self._used()) is None or used > most:
            if self._lost is not None or time.monotonic() > deadline:
                break
            time.sleep(_AGAIN_S)
        return used

    def _used(self) -> int | None:
        try:
            return self._device.memory_used_bytes()
        except GpuLostError as error:
            self._lost = error.what
        except MachineError:
            pass
        return None

    def _has_risen(self) -> bool:
        """Tell whether a process that was there before, and idle, computes now, as far as the driver tells."""
        if not self._idle:
            return False  # asking takes the driver milliseconds, in which it may keep the probe waiting
        self._busy_samples.update(pid for pid, load in self._loads().items() if load > FOREIGN_LOAD)
        return any(self._busy_samples[pid] >= _BUSY_SAMPLES for pid in self._idle)

    def _memory_by_process(self) -> dict[int, int | None] | None:
        """Return the processes on the card and what each holds; None where the driver does not tell."""
        with contextlib.suppress(MachineError):
            return {process.pid: process.used_bytes for process in self._device.processes()}
        return None

    def _loads(self) -> dict[int, float]:
        with contextlib.suppress(MachineError):
            return self._device.loads()
        return {}

    def _read_xids(self) -> None:
        with contextlib.suppress(MachineError):
            self._xids += self._device.xids()


def _holds_stranger(new: set[int], tree: set[int]) -> bool:
    """Tell whether any of the processes that came is not the probe's."""
    strangers = new - tree
    # where the driver numbers processes as outside the container, ours is one unknown among them
    return len(strangers) > (0 if strangers != new else 1)


def _has_grown(tenants: Mapping[int, int | None], memory: Mapping[int, int | None]) -> bool:
    """Tell whether a process that was there before holds more of the card, as far as the driver tells."""
    before = {pid: held for pid, held in tenants.items() if held is not None}
    return any((memory.get(pid) or 0) - held > _TOLERANCE_BYTES for pid, held in before.items())
