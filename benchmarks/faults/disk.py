"""A disk that fails or fills up under the ledger: a typed error each time, and an intact database after it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.faults import Line
from benchmarks.faults.strace import Done, calls, run_injected
from benchmarks.faults.survey import Tally, parse, survey

_WRITES = ("pwrite64", "fdatasync", "fsync", "ftruncate", "openat", "mkdir")
_REFUSED = 4
TMPFS_KIB = (300, 400, 600, 1000, 2000)


def run(folder: Path, scale: float) -> Iterator[Line]:
    """Yield a line for each way of failing."""
    for error in ("ENOSPC", "EIO"):
        yield at_every_write(folder / error, error, scale)
    yield full(folder / "tmpfs")


def at_every_write(folder: Path, error: str, scale: float) -> Line:
    """Let each write, sync, truncation and opening of a worker fail once, and from then on for ever."""
    tally = Tally(f"{error} at each write and sync of the ledger")
    for syscall, count in calls(folder, _WRITES).items():
        step = max(1, round(1 / scale))
        for number in range(1, count + 1, step):
            for when in (str(number), f"{number}+"):
                done = run_injected(folder, f"{syscall}:error={error}:when={when}")
                tally.add(_wrong(done), "refused" if done.returncode == _REFUSED else "no harm done")
    return tally.line()


def full(folder: Path) -> Line:
    """Work on small file systems until they are full, then make room and look."""
    tally = Tally("a file system that is full")
    for size in TMPFS_KIB:
        mount = folder / str(size)
        mount.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(mount)], check=True)
        try:
            done = _work(mount / "trials.db")
            subprocess.run(["mount", "-o", f"remount,size={size + 8000}k", str(mount)], check=True)
            problem = _wrong(done)
            if "the disk is full" not in done.said:
                problem = problem or f"said: {done.said}"
            tally.add(problem, "refused" if done.returncode == _REFUSED else "no harm done")
        finally:
            subprocess.run(["umount", str(mount)], check=True)
    return tally.line()


def _work(database: Path) -> Done:
    command = [sys.executable, "-m", "benchmarks.faults.worker", str(database), "--probes", "1000000"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    return Done(database, parse(done.stdout.splitlines(keepends=True)), done.returncode, done.stderr.decode())


def _wrong(done: Done) -> str | None:
    """Say what is wrong, if anything: an untyped error, or a row that was acknowledged and is not there."""
    lines = [line for line in done.said.splitlines() if line]
    if done.returncode not in (0, _REFUSED) or (done.returncode == _REFUSED and len(lines) != 2):
        return f"exit {done.returncode}: {lines[-1:]}"
    if done.returncode == 0 and lines:
        return f"said {lines}"
    problem, _ = survey(done.database, done.acks)
    return problem
