"""The log of a search of the queue, which also notices when the machine, not the configuration, fails a probe."""

from __future__ import annotations

from typing import TextIO, cast

from autobatch.errors import MachineError
from autobatch.review.live import PlainView
from autobatch.review.terminal import PatientStream
from autobatch.settings import Configuration
from autobatch.verdict import HINTS, Kind, Verdict

_MACHINE = {Kind.GPU_LOST: "The GPU was lost.", Kind.DISK_FULL: "The disk is full."}
"""Kinds after which the search is put off: no configuration would run."""


class Witness(PlainView):
    """Writes one line an event, and keeps the last verdict."""

    def __init__(self, stream: PatientStream) -> None:
        super().__init__(cast("TextIO", stream))
        self.ended = 0
        """Probes that came to an end which says something of their configuration."""
        self._lost: Kind | None = None

    def trial_finished(self, number: int, configuration: Configuration, verdict: Verdict) -> None:
        """Take in how a probe ended."""
        super().trial_finished(number, configuration, verdict)
        self._lost = verdict.kind if verdict.kind in _MACHINE else None
        self.ended += self._lost is None

    def check_machine(self) -> None:
        """Say so when the last probe failed for the machine's sake.

        Raises:
            MachineError: it did.

        """
        if self._lost is not None:
            raise MachineError(_MACHINE[self._lost], HINTS[self._lost])
