"""What the search needs of its neighbours: a ledger that writes every probe down, and somebody who looks on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from autobatch.request import Journal, NullJournal, Purpose
from autobatch.settings import Configuration
from autobatch.verdict import Verdict


class Entry(Journal, Protocol):
    """One probe's row in the ledger."""

    def finish(self, verdict: Verdict) -> None:
        """Record the outcome; the row is closed."""


class Ledger(Protocol):
    """The write-ahead record of probes."""

    def begin(
        self,
        study: str,
        trial_number: int,
        configuration: Configuration,
        purpose: Purpose,
        stage: str,
    ) -> Entry:
        """Write the row before anything runs; it is durable when this returns."""

    def quarantined(self, study: str) -> list[Configuration]:
        """Return the configurations that were in flight when the machine or container died."""


class Ended(Protocol):
    """A probe in the ledger that had ended when its search was killed."""

    @property
    def study(self) -> str:
        """Name of its study."""

    @property
    def trial_number(self) -> int:
        """Number of its trial."""

    @property
    def configuration(self) -> Configuration:
        """What was tried."""

    @property
    def stage(self) -> str:
        """Search, loader, eval or confirm."""

    @property
    def purpose(self) -> Purpose:
        """How it was probed."""

    @property
    def verdict(self) -> Verdict | None:
        """What came of it."""


class NullEntry(NullJournal):
    """An entry that keeps nothing."""

    def finish(self, verdict: Verdict) -> None:
        """Forget the outcome."""


class NullLedger:
    """A ledger that keeps nothing: for recorded surfaces, where no process is ever started."""

    def begin(
        self,
        study: str,  # noqa: ARG002 - the seam's signature
        trial_number: int,  # noqa: ARG002 - the seam's signature
        configuration: Configuration,  # noqa: ARG002 - the seam's signature
        purpose: Purpose,  # noqa: ARG002 - the seam's signature
        stage: str,  # noqa: ARG002 - the seam's signature
    ) -> Entry:
        """Return an entry that forgets."""
        return NullEntry()

    def quarantined(self, study: str) -> list[Configuration]:  # noqa: ARG002 - the seam's signature
        """Return nothing."""
        return []


Gate = Callable[[], None]
"""Called before each probe, with nothing open: it may wait, or raise `StopSearch`."""


class StopSearch(KeyboardInterrupt):
    """Somebody wants the search to end here and keep what is known."""


def open_gate() -> None:
    """Let every probe through."""


class Observer(Protocol):
    """Looks on while a search runs: a live view, a log, or nobody."""

    def stage(self, name: str) -> None:
        """Take in that a stage begins: search, loader, eval or confirm."""

    def trial_started(self, number: int, configuration: Configuration, why: Mapping[str, Any]) -> None:
        """Take in that a probe begins; `why` holds what was predicted of it, and the reason in words."""

    def trial_finished(self, number: int, configuration: Configuration, verdict: Verdict) -> None:
        """Take in that a probe has ended."""

    def message(self, text: str) -> None:
        """Take in something that a person would want to know, in one line."""


class NullObserver:
    """Looks away."""

    def stage(self, name: str) -> None:
        """Look away."""

    def trial_started(self, number: int, configuration: Configuration, why: Mapping[str, Any]) -> None:
        """Look away."""

    def trial_finished(self, number: int, configuration: Configuration, verdict: Verdict) -> None:
        """Look away."""

    def message(self, text: str) -> None:
        """Look away."""
