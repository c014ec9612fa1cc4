"""Verdicts on probes that are killed, starved and broken.

    python -m benchmarks.faults.classification [--count 30] [--case TEXT ...] [--seconds S] [--json FILE]

Each case runs forked from the preloaded parent and cold, by turns, unless it needs torch at hand. All cases are run
once, then all again, so that where the time ends early every one has been.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from autobatch.isolation.parent import PreloadedParent
from autobatch.machine import cgroups
from autobatch.machine.gpus import list_gpus
from benchmarks.common import Deadline, Record, parser
from benchmarks.faults import Line, scaled
from benchmarks.faults.classification_cases import CASES, OUT_OF_MEMORY, Case
from benchmarks.faults.classification_provoke import Result, both_parents, inside, provoke

COUNT = 30
"""Of each kind, in the published figures."""


def run(folder: Path, scale: float) -> Iterator[Line]:
    """Yield a line for each case that this machine can provoke."""
    with both_parents(folder) as parents:
        for case in possible("cuda:0" if list_gpus() else "cpu"):
            yield measure(case, folder / case.entry, scaled(COUNT, scale), parents)


def measure(case: Case, folder: Path, count: int, parents: Sequence[PreloadedParent]) -> Line:
    """Run a case so many times; return its line of the table, its row of the confusion matrix in the notes."""
    tally = Tally(case)
    for number in range(count):
        tally.provoke(folder, number, parents)
    return tally.line()


def possible(device: str) -> list[Case]:
    """Return the cases for a device: those of the card need one."""
    return [case for case in CASES if device != "cpu" or not case.cuda]


@dataclass
class Tally:
    """What the probes of one case came to."""

    case: Case
    results: list[Result] = field(default_factory=list)
    seconds: float = 0.0
    longest_s: float = 0.0

    def provoke(self, folder: Path, number: int, parents: Sequence[PreloadedParent]) -> None:
        """Run the case once more."""
        began = time.monotonic()
        result = provoke(self.case, folder, number, parents)
        self.results += [result] if result is not None else []
        took = time.monotonic() - began
        self.seconds, self.longest_s = self.seconds + took, max(self.longest_s, took)

    def line(self) -> Line:
        """Return its line of the table."""
        right = {str(kind) for kind in self.case.right}
        false_oom = sum(result.kind in OUT_OF_MEMORY and result.kind not in right for result in self.results)
        counts = Counter(f"{result.kind} ({result.confidence})" for result in self.results)
        return Line(
            fault=self.case.fault,
            injected=len(self.results),
            right=sum(result.kind in right for result in self.results),
            lost=sum(result.left for result in self.results) + false_oom,
            seconds=round(self.seconds, 2),
            notes=", ".join(f"{count} {kind}" for kind, count in counts.most_common()),
        )


def rounds(tallies: Sequence[Tally], options: argparse.Namespace) -> Iterator[None]:
    """Run every case once, then again, so many times or as many as there is time for; yield after each probe."""
    deadline = Deadline(options.seconds)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder, both_parents(Path(folder)) as parents:
        for number in range(options.count):
            for tally in tallies:
                if deadline.allows(tally.longest_s):
                    tally.provoke(Path(folder) / tally.case.entry, number, parents[options.cold :])
                    yield


def main() -> int:
    """Print a line for each case with its row of the confusion matrix; exit with 1 where one was not right."""
    options = command().parse_args()
    if options.inside:
        inside(*options.inside)
        return 0
    record = Record(options.json, "benchmarks.faults.classification")
    wanted = [case for case in possible(options.device) if any(text in case.fault for text in options.case)]
    tallies = [Tally(case) for case in wanted if not (options.cold and case.needs_torch)]
    for _ in rounds(tallies, options):
        record.keep(cgroups=cgroups.read().version, lines=[asdict(tally.line()) for tally in tallies])
    lines = [tally.line() for tally in tallies]
    for line in lines:
        print(f"{line.fault:<50} {line.right:>4}/{line.injected:<4} lost {line.lost}  {line.notes}")
    return int(any(not line.injected or line.right != line.injected or line.lost for line in lines))


def command() -> argparse.ArgumentParser:
    """Return the command line."""
    made = parser(__doc__, seconds=7200.0)
    made.add_argument("--count", type=int, default=COUNT, help="faults of each kind, at most (default: %(default)s)")
    made.add_argument("--case", nargs="+", default=[""], help="only cases whose name has one of these in it")
    made.add_argument("--cold", action="store_true", help="only cold starts, and cases that need no torch")
    made.add_argument("--inside", nargs=2, metavar=("CASE", "FOLDER"), help=argparse.SUPPRESS)
    return made


if __name__ == "__main__":
    sys.exit(main())
