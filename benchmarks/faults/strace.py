"""Faults in single system calls, by strace: those of a worker on its database and side files."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.survey import Ack, parse

_NUMBERS = itertools.count()
_CALL = re.compile(r"^\d+ +(\w+)\(", re.MULTILINE)
_SIDE_FILES = ("", "-wal", "-shm", "-journal", ".mark")


@dataclass(frozen=True)
class Done:
    """What became of a worker."""

    database: Path
    acks: list[Ack]
    returncode: int
    said: str


def calls(folder: Path, syscalls: tuple[str, ...]) -> Counter[str]:
    """Return how often a worker makes each of these system calls on its files when left alone."""
    log = folder / "calls.log"
    folder.mkdir(parents=True, exist_ok=True)
    _run(folder / "undisturbed", ["-o", str(log), "-e", f"trace={','.join(syscalls)}"])
    return Counter(_CALL.findall(log.read_text()))


def run_injected(folder: Path, injection: str) -> Done:
    """Run a worker on a new database with one fault, in strace's words: `pwrite64:error=EIO:when=3`."""
    syscall = injection.partition(":")[0]
    options = ["-o", "/dev/null", "-e", f"trace={syscall}", "-e", f"inject={injection}"]
    return _run(folder / f"run-{next(_NUMBERS)}", options)


def _run(folder: Path, options: list[str]) -> Done:
    folder.mkdir(parents=True)
    database = folder / "deep" / "trials.db"
    paths = [database.with_name(database.name + suffix) for suffix in _SIDE_FILES] + [database.parent]
    watched = [part for path in paths for part in ("-P", str(path))]
    command = ["strace", "-f", "-qq", *watched, *options]
    command += [sys.executable, "-m", "benchmarks.faults.worker", str(database)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    return Done(database, parse(done.stdout.splitlines(keepends=True)), done.returncode, done.stderr.decode())
