"""What benchmarks have in common: their options, the moment by which they end, and the file that they leave behind."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autobatch.machine.gpus import list_gpus
from benchmarks.about import about


def parser(description: str | None, seconds: float) -> argparse.ArgumentParser:
    """Return a command line with the options that all have: device, time and file."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--device", default="cuda:0" if list_gpus() else "cpu", help="cuda:N or cpu")
    made.add_argument("--seconds", type=float, default=seconds, help="it ends itself within so many (%(default).0f)")
    made.add_argument("--json", type=Path, help="write the figures there, after every row")
    return made


class Deadline:
    """A moment by which a benchmark has ended.

    Args:
        seconds: from now.
        clock: monotonic seconds.

    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends = clock() + seconds

    @property
    def left_s(self) -> float:
        """Seconds left; never negative."""
        return max(0.0, self._ends - self._clock())

    def allows(self, seconds: float = 0.0) -> bool:
        """Tell whether something that takes so long would end in time."""
        return self.left_s > seconds

    def share_s(self, rows_left: int) -> float:
        """Return an equal share of what is left, for each of the rows to come."""
        return self.left_s / max(1, rows_left)


class Record:
    """The JSON file of a benchmark: command, machine and versions, then the figures so far.

    Args:
        path: of the file, which is replaced as a whole each time; None keeps nothing.
        module: of the benchmark.

    """

    def __init__(self, path: Path | None, module: str) -> None:
        self._path = path
        self._about = about(module)

    def keep(self, **figures: Any) -> None:  # noqa: ANN401 - whatever a benchmark measures
        """Write the figures, over those of the call before."""
        if self._path is not None:
            temporary = self._path.with_name(f".{self._path.name}")
            temporary.write_text(json.dumps({**self._about, **figures}, indent=1, ensure_ascii=False) + "\n")
            temporary.replace(self._path)
