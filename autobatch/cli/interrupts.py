"""Ctrl-C, SIGTERM and SIGHUP: a search ends in good order, whichever comes."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from autobatch.errors import EXIT_INTERRUPTED, AutobatchError

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class InterruptedCommandError(AutobatchError):
    """A command was interrupted before it had anything to say."""

    exit_code = EXIT_INTERRUPTED

    def __init__(self) -> None:
        super().__init__("Interrupted.", "What was finished is kept: the same command goes on from there.")


@contextmanager
def orderly_end() -> Iterator[None]:
    """Have all three raise `KeyboardInterrupt` in the main thread, from which the call must come.

    The second is not heeded: it would break off the end that the first began, the probe's kill and its row's close.
    The third is, for an end that hangs. What was ignored before stays ignored, as SIGHUP is under `nohup`.
    """
    numbers = itertools.count(1)

    def interrupt(_: int, __: FrameType | None) -> None:
        if next(numbers) != 2:  # noqa: PLR2004 - see above
            raise KeyboardInterrupt

    before = {one: signal.getsignal(one) for one in _SIGNALS}
    heeded = [one for one, handler in before.items() if handler is not signal.SIG_IGN]
    try:
        for one in heeded:
            signal.signal(one, interrupt)
        yield
    finally:
        for one in heeded:
            signal.signal(one, before[one])
