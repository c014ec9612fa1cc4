"""The card from outside, while a probe runs: its peak, and whether somebody else moved in."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable

from autobatch.errors import MachineError
from autobatch.isolation.evidence import DeviceFacts
from autobatch.machine.gpus import Device, GpuLostError

_TOLERANCE_BYTES = 128 << 20
"""Used memory may differ by this before and after with nobody else on the card."""
_RELEASE_S = 5.0
"""The driver may still be giving back a dead process's memory for this long."""


class DeviceWatch:
    """Readings of one card from before a probe to after its end."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._lost: str | None = None
        self._peak = 0
        self._moved_in = False
        self._xids: list[int] = []
        self._read_xids()
        self._xids.clear()
        self._before = self._used()
        self._pids_before = self._pids()

    def sample(self, tree: Iterable[int]) -> int:
        """Take a reading; `tree` are the probe's processes. Returns used bytes beyond those of others before."""
        used = max(0, self._used() - self._before)
        self._peak = max(self._peak, used)
        new = self._pids() - self._pids_before
        strangers = new - set(tree)
        # where the driver numbers processes as outside the container, ours is one unknown among them
        self._moved_in |= len(strangers) > (0 if strangers != new else 1)
        return used

    def finish(self) -> DeviceFacts:
        """Wait for the dead probe's memory to be given back, and return what was seen."""
        deadline = time.monotonic() + _RELEASE_S
        while (after := self._used()) > self._before + _TOLERANCE_BYTES and time.monotonic() < deadline:
            time.sleep(0.05)
        self._read_xids()
        return DeviceFacts(
            others_before_bytes=self._before,
            others_after_bytes=after,
            others_moved_in=self._moved_in or after > self._before + _TOLERANCE_BYTES,
            peak_used_bytes=self._peak or None,
            total_bytes=self._device.gpu.total_bytes,
            lost=self._lost,
            xids=tuple(self._xids),
        )

    def _used(self) -> int:
        try:
            return self._device.memory_used_bytes()
        except GpuLostError as error:
            self._lost = error.what
            return 0

    def _pids(self) -> set[int]:
        """Return the processes on the card; none where the driver does not tell."""
        with contextlib.suppress(MachineError):
            return set(self._device.process_ids())
        return set()

    def _read_xids(self) -> None:
        with contextlib.suppress(MachineError):
            self._xids += self._device.xids()
