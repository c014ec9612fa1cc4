"""The benchmarks that need a card, one after another within a time: for a machine that is lent by the minute.

    python -m benchmarks.gpu --out DIR --seconds 560 PART [PART ...]

Each part gets its least and a share of what is free by what it wants, so that what one does not use goes to those after
it; where that is too little for all, the last are left out. A part writes DIR/PART.json and DIR/PART.txt; where files
become more than 8, the oldest are moved into DIR/more.zip. One that fails does not stop the others, and nothing that it
started outlives it.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from autobatch.isolation import proc
from benchmarks import processes
from benchmarks.common import Deadline
from benchmarks.gpu_parts import PARTS, Part

MOST_FILES = 8
INTERRUPTED = 130
START_S = 8.0
"""Before a benchmark's own clock begins, and after it has ended: its imports, and the end of its processes."""
PATIENCE_S = 3.0
"""A helper process of a library's may end so long after what it helped."""
MORE = "more.zip"
SHOWN_LINES, SHOWN_WIDTH = 14, 160
"""Of a part's text, when it has ended."""
OFFLINE = {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True)
class Outcome:
    """What became of a part."""

    name: str
    status: str
    given_s: float = 0.0
    took_s: float = 0.0
    left: int = 0
    """Processes that it left behind, and that were killed."""

    def line(self) -> str:
        """Return a row of the table."""
        return f"{self.name:<16}{self.status:<12}{self.given_s:>8.0f}{self.took_s:>8.0f}{self.left:>10}"


@dataclass(frozen=True)
class Run:
    """One run: its folder and the moment by which it has ended.

    Attributes:
        out: where the files go.
        deadline: of all parts together.
        grace_s: of a part to end in good order once it is interrupted; it is held back for the last one.

    """

    out: Path
    deadline: Deadline
    grace_s: float

    def parts(self, parts: Mapping[str, Part]) -> list[Outcome]:
        """Run the parts in order, and say of each how it went."""
        outcomes, coming = [], dict(parts)
        for name, part in parts.items():
            given_s = share_s(self.deadline.left_s - self.grace_s - PATIENCE_S, list(coming.values()))
            del coming[name]
            outcomes.append(self.part(name, part, given_s))
            print(f"== {outcomes[-1].line()}", *self.said(name), sep="\n", flush=True)
        return outcomes

    def part(self, name: str, part: Part, given_s: float) -> Outcome:
        """Run one part for so long at most, and leave nothing of it running."""
        if given_s < part.least_s:
            return Outcome(name, "left out", given_s)
        make_room(self.out, part.files)
        began = time.monotonic()
        values = {"json": str(self.out / f"{name}.json"), "folder": str(self.out)}
        words = part.command(seconds=f"{max(0.0, given_s - START_S):.0f}", **values)
        with (self.out / f"{name}.txt").open("w") as text:
            status = self.run(words, text.fileno(), given_s)
        left = sweep()
        for unfinished in self.out.glob(".*"):
            unfinished.unlink()
        return Outcome(name, status, given_s, time.monotonic() - began, left)

    def run(self, words: list[str], output: int, given_s: float) -> str:
        """Run the interpreter with these words; return how it ended, in words."""
        environment = {**processes.environment(), **OFFLINE}
        process = subprocess.Popen(
            [sys.executable, *words], env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, text=True
        )
        if not processes.end_within(process, given_s, self.grace_s):
            return "timed out"
        return "ok" if process.returncode == 0 else f"exit {process.returncode}"

    def said(self, name: str) -> list[str]:
        """Return the end of a part's text."""
        path = self.out / f"{name}.txt"
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        return [line[:SHOWN_WIDTH] for line in lines[-SHOWN_LINES:]]


def share_s(left_s: float, coming: Sequence[Part]) -> float:
    """Return the seconds of the first of the parts to come: its least, and a share of what is free by what all want.

    Where there is not even the least for all, the earlier go first: those for which none is left get no share.
    """
    held_s = 0.0
    fitting: list[Part] = []
    for part in coming:
        if held_s + part.least_s <= left_s:
            held_s += part.least_s
            fitting.append(part)
    first = coming[0]
    if first not in fitting:
        return max(0.0, left_s)
    return first.least_s + (left_s - held_s) * first.wanted_s / sum(part.wanted_s for part in fitting)


def sweep(patience_s: float = PATIENCE_S) -> int:
    """Kill and reap everything below this process that does not end by itself soon; return how many that were."""
    patience = Deadline(patience_s)
    while proc.descendants(os.getpid()) and patience.allows():
        time.sleep(0.02)
    found = processes.kill_below(os.getpid())
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return found


def make_room(folder: Path, coming: int, most: int = MOST_FILES) -> None:
    """Move the oldest files of a folder into one archive until so many new ones fit beside the others."""
    files = sorted((path for path in folder.iterdir() if path.name != MORE), key=lambda path: path.stat().st_mtime)
    if len(files) + coming + (folder / MORE).exists() <= most:
        return
    with zipfile.ZipFile(folder / MORE, "a", zipfile.ZIP_DEFLATED) as archive:
        for path in files[: max(0, len(files) + coming + 1 - most)]:
            archive.write(path, path.name)
            path.unlink()


def command() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("parts", nargs="+", choices=list(PARTS), metavar="PART", help=", ".join(PARTS))
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--seconds", type=float, required=True, help="for all parts together")
    made.add_argument("--grace-s", type=float, default=processes.GRACE_S, help="for a part whose time is up to end in")
    return made


def main() -> int:
    """Run the parts and print how each went; exit with 1 where one was not well, 130 where interrupted."""
    options = command().parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    processes.allow_interrupts()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    proc.adopt_orphans()
    try:
        whole = Run(options.out.resolve(), Deadline(options.seconds), options.grace_s)
        outcomes = whole.parts({name: PARTS[name] for name in options.parts})
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        sweep(0.0)
    print(f"\n{'part':<16}{'status':<12}{'given s':>8}{'took s':>8}{'left over':>10}")
    print(*(outcome.line() for outcome in outcomes), sep="\n")
    return int(any(outcome.status != "ok" or outcome.left for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
