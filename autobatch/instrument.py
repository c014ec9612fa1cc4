"""`autobatch.probe()`: three lines by which any training loop takes part in a search.

    with autobatch.probe() as p:
        loader = DataLoader(data, batch_size=p.setting("per_device_train_batch_size", 8))
        for batch in p.batches(loader):
            ...
            p.step()

Outside a search it does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from autobatch.settings import Scalar

FOLDER = "AUTOBATCH_PROBE"
"""Environment variable: folder of the probe that this process is; not set outside a search."""
T = TypeVar("T")


class Probe(Protocol):
    """What a loop asks of autobatch."""

    @property
    def searching(self) -> bool:
        """Whether this run is part of a search, so that nothing that it makes is worth keeping."""

    def setting(self, name: str, default: Scalar | None) -> Scalar | None:
        """Return a setting under test, or the loop's own value outside a search."""

    def batches(self, loader: Iterable[T]) -> Iterable[T]:
        """Return the loop's batches; in a search the longest that its data set can make come first."""

    def step(self, loss: Any = None) -> None:  # noqa: ANN401 - a tensor or a number
        """Say that an optimizer step is done; in a search the process ends here once the figures are steady."""

    def close(self) -> None:
        """Take note that the loop has come to its own end."""


class Absent:
    """The probe outside a search."""

    searching = False

    def setting(self, name: str, default: Scalar | None) -> Scalar | None:  # noqa: ARG002 - as Probe's
        """Return the loop's own value."""
        return default

    def batches(self, loader: Iterable[T]) -> Iterable[T]:
        """Return the loader."""
        return loader

    def step(self, loss: Any = None) -> None:  # noqa: ANN401 - as Probe's
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


_ACTIVE: list[Probe] = []


def activate(probe: Probe) -> None:
    """Make a probe that of this process."""
    _ACTIVE.append(probe)


@contextmanager
def probe() -> Iterator[Probe]:
    """Measure a training loop where it runs in a search; do nothing elsewhere."""
    found = _ACTIVE[-1] if _ACTIVE else _of_environment()
    yield found
    found.close()


def _of_environment() -> Probe:
    """Return the probe of a process that a script under test has started; none where nothing is tested."""
    folder = os.environ.get(FOLDER)
    if folder is None:
        return Absent()
    from autobatch.probe.script_loop import open_probe

    return open_probe(Path(folder))
