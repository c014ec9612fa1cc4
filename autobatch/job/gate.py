"""What a search waits for before each probe, and a clock that leaves the waiting out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from autobatch.errors import MachineError
from autobatch.isolation.device import FOREIGN_LOAD
from autobatch.machine.gpus import Device, GpuLostError
from autobatch.units import GIB, format_bytes, format_duration

POLL_S = 2.0
AGAIN_S = 0.05
FOREIGN_BYTES = GIB
"""Memory of others on the card that a probe can live with: a desktop, another driver's context."""
PATIENCE_S = 5.0
"""A card that does not tell its memory is asked again for this long: the driver fails now and then, and goes on."""
READINGS = 3
"""Load is judged by this many readings in a row: the driver's figure still holds the last probe's work for a moment."""


@dataclass
class WorkClock:
    """Seconds of work: `time.monotonic`, which stands still inside `waiting`."""

    waited_s: float = 0.0
    _since: float | None = field(default=None, init=False)

    def __call__(self) -> float:
        """Return the clock's reading in seconds."""
        return (time.monotonic() if self._since is None else self._since) - self.waited_s

    @property
    def is_waiting(self) -> bool:
        """Whether it stands still."""
        return self._since is not None

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Leave the time inside out; a wait within a wait counts once."""
        if self._since is not None:
            yield
            return
        self._since = time.monotonic()
        try:
            yield
        finally:
            self.waited_s += time.monotonic() - self._since
            self._since = None


@dataclass
class CardGate:
    """Waits until nobody else is at work on the card, and says for whom it waits.

    Attributes:
        device: the card; None for none, where there is nothing to wait for.
        needed_bytes: of the card that the search may use; 0 for all of it.
        clock: leaves the waiting out.
        say: told the reason, once each time it changes.
        check: called first, and while waiting; it may raise to end the search.
        waits: told the reason when it begins to wait or the reason changes, and nothing when it goes on.

    """

    device: Device | None
    needed_bytes: int
    clock: WorkClock
    say: Callable[[str], None]
    check: Callable[[], None] = field(default=lambda: None)
    waits: Callable[[str], None] = field(default=lambda _: None)

    def __call__(self) -> None:
        """Return when the card is free.

        Raises:
            MachineError: the card is lost, or has not told its memory for `PATIENCE_S`.

        """
        self.check()
        reason = self._taken()
        if not reason:
            return
        started = time.monotonic()
        with self.clock.waiting():
            self._wait(reason)
        self.waits("")
        self.say(f"the card is free after {format_duration(time.monotonic() - started)}")

    def _wait(self, reason: str) -> None:
        said = ""
        while reason:
            if reason != said:
                self.say(f"waiting for the card: {reason}")
                self.waits(f"waiting for the card: {reason}")
            said = reason
            time.sleep(POLL_S)
            self.check()
            reason = self._taken()

    def _taken(self) -> str:
        if self.device is None:
            return ""
        used = self._used_bytes()
        spare = self.device.memory_total_bytes() - (self.needed_bytes or self.device.memory_total_bytes())
        if used > max(FOREIGN_BYTES, spare):
            return f"{format_bytes(used)} of it are in use{self._by_whom()}"
        if all(self._busy() for _ in range(READINGS)):
            return f"others' work keeps it busy{self._by_whom()}"
        return ""

    def _used_bytes(self) -> int:
        assert self.device is not None
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self.device.memory_used_bytes()
            except MachineError as error:
                if isinstance(error, GpuLostError) or time.monotonic() > deadline:
                    raise
            time.sleep(AGAIN_S)

    def _busy(self) -> bool:
        assert self.device is not None
        try:
            busy = self.device.utilization() > FOREIGN_LOAD
        except MachineError:
            return False  # a card that does not tell its load is judged by its memory
        if busy:
            time.sleep(0.5)
        return busy

    def _by_whom(self) -> str:
        assert self.device is not None
        others: list[str] = []
        with suppress(MachineError):
            others = [str(pid) for pid in self.device.process_ids() if pid != os.getpid()]
        return f" by process {', '.join(others[:3])}" if others else ""
