"""Ways for a probe to end: each function is an entry point of a probe's process and takes its folder.

They write progress and outcome as the real probe does, and are killed, starved and broken by the real kernel.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import mmap
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from autobatch.machine import cgroups
from autobatch.probe.outcome import Progress, write_outcome
from autobatch.verdict import Measurements

MIB = 1 << 20
_CLONE_NEWNS = 0x00020000
_MS_REC_PRIVATE = 0x44000
_EAT = "import time; kept = []\nwhile True: kept.append(bytearray(4 << 20)); time.sleep({pause})"
_HELD: list[object] = []
"""What must stay alive until the process ends."""


def entry(phase: str = "worst_case") -> Callable[[Callable[[Path], Measurements | None]], Callable[[str], int]]:
    """Make an entry point of a function that raises, ends the process, or returns its figures."""

    def decorate(function: Callable[[Path], Measurements | None]) -> Callable[[str], int]:
        @functools.wraps(function)
        def main(folder: str) -> int:
            path = Path(folder)
            Progress(path).enter(phase)
            try:
                found = function(path) or Measurements(loss=1.0)
            except BaseException as error:  # noqa: BLE001 - as the real probe does
                write_outcome(path, phase, Measurements(), {}, error)
                return 1
            write_outcome(path, phase, found, {})
            return 0

        return main

    return decorate


def _touch(size: int) -> mmap.mmap:
    """Return anonymous memory with every page there."""
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)


def _eat(pause_s: float = 0.0) -> NoReturn:
    while True:
        _HELD.append(_touch(4 * MIB))
        time.sleep(pause_s)


def _limit_bytes() -> int:
    """Return what our own cgroup's limit leaves free."""
    group = cgroups.read().memory
    assert group is not None
    names = (
        ("memory.limit_in_bytes", "memory.usage_in_bytes") if group.version == 1 else ("memory.max", "memory.current")
    )
    limit, usage = (cgroups.number(group.folder / name) or 0 for name in names)
    return limit - usage


# what runs


@entry("typical")
def fine(_: Path) -> None:
    """Run to its end."""


@entry("typical")
def page_cache(folder: Path) -> None:
    """Write and read twice the memory limit through the page cache."""
    chunk, count = bytes(4 * MIB), 2 * _limit_bytes() // (4 * MIB)
    path = folder / "cached"
    with path.open("wb") as file:
        for _ in range(count):
            file.write(chunk)
    with path.open("rb") as file:
        while file.read(4 * MIB):
            pass
    path.unlink()


@entry("typical")
def nearly_all(_: Path) -> None:
    """Hold 95 % of the limit for a while."""
    _HELD.append(_touch(int(0.95 * _limit_bytes())))
    time.sleep(0.4)


@entry("typical")
def not_finite(_: Path) -> Measurements:
    """Overflow, as fp16 does."""
    return Measurements(loss=float("inf") - float("inf"))


# host memory


@entry()
def eats(_: Path) -> None:
    """Take memory without end."""
    _eat()


@entry()
def eats_slowly(_: Path) -> None:
    """Take memory without end, 400 MiB/s."""
    _eat(0.01)


@entry()
def eats_half(_: Path) -> None:
    """Take half of the limit, and keep it."""
    _HELD.append(_touch(_limit_bytes() // 2))
    time.sleep(60)


@entry()
def tree_eats(_: Path) -> None:
    """Let two children take memory, and wait for them."""
    command = [sys.executable, "-c", _EAT.format(pause=0.002)]
    children = [subprocess.Popen(command) for _ in range(2)]
    for child in children:
        child.wait()
    message = f"children ended with {[child.returncode for child in children]}"
    raise RuntimeError(message)


@entry()
def escapee_eats(_: Path) -> None:
    """Let a grandchild in a session of its own take memory, and wait."""
    subprocess.run(["setsid", "--fork", sys.executable, "-c", _EAT.format(pause=0.002)], check=True)
    time.sleep(60)


@entry()
def loader_eats(_: Path) -> None:
    """Train on a data set whose workers take memory without end."""
    _drain_loader(lambda _: _eat())


@entry()
def loader_waits(_: Path) -> None:
    """Train on a data set whose workers wait, so that somebody can kill one."""
    _drain_loader(lambda _: time.sleep(60))


def _drain_loader(item: Callable[[int], Any]) -> None:
    from torch.utils.data import DataLoader, Dataset

    class Items(Dataset[Any]):
        def __len__(self) -> int:
            return 64

        def __getitem__(self, index: int) -> Any:  # noqa: ANN401 - whatever the case wants
            return item(index)

    for _ in DataLoader(Items(), batch_size=2, num_workers=2):
        pass


# refusals


@entry("build")
def address_space(_: Path) -> None:
    """Ask for more than RLIMIT_AS leaves, in Python."""
    _limit_address_space()
    _HELD.append(bytearray(4096 * MIB))


@entry("build")
def tensor_too_large(_: Path) -> None:
    """Ask for more than RLIMIT_AS leaves, in torch."""
    import torch

    _limit_address_space()
    _HELD.append(torch.ones(2048 * MIB))


def _limit_address_space() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * mmap.PAGESIZE + 256 * MIB
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    # long enough for the limit to be seen from outside
    time.sleep(0.15)


@entry()
def many_threads(_: Path) -> None:
    """Start more threads than the pids cgroup allows."""
    for _number in range(200):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


@entry()
def many_processes(_: Path) -> None:
    """Start more processes than the pids cgroup allows."""
    for _number in range(200):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)


def _small_mount(path: Path, size: str) -> None:
    """Mount a small tmpfs over a folder, seen by this process alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) or libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None):
        raise OSError(ctypes.get_errno(), "unshare")
    path.mkdir(exist_ok=True)
    if libc.mount(b"tmpfs", str(path).encode(), b"tmpfs", 0, f"size={size}".encode()):
        raise OSError(ctypes.get_errno(), "mount")


@entry()
def shared_tensor(_: Path) -> None:
    """Put a tensor into a /dev/shm that is too small for it."""
    import torch

    _small_mount(Path("/dev/shm"), "2m")
    _fill(Path("/dev/shm/filler"), 2 * MIB)
    time.sleep(0.4)
    torch.ones(16 * MIB).share_memory_()  # type: ignore[no-untyped-call] # torch leaves it untyped


@entry()
def shared_bus_error(_: Path) -> None:
    """Touch a page of shared memory that /dev/shm has no room for."""
    _small_mount(Path("/dev/shm"), "2m")
    _fill(Path("/dev/shm/filler"), 2 * MIB)
    time.sleep(0.4)
    descriptor = os.open("/dev/shm/late", os.O_RDWR | os.O_CREAT)
    os.ftruncate(descriptor, 8 * MIB)
    area = mmap.mmap(descriptor, 8 * MIB)
    area[4 * MIB] = 1


@entry()
def loader_shared_memory(_: Path) -> None:
    """Hand over batches through a /dev/shm that is too small for them."""
    import torch

    _small_mount(Path("/dev/shm"), "2m")
    _fill(Path("/dev/shm/filler"), 2 * MIB)
    time.sleep(0.4)
    _drain_loader(lambda _: torch.ones(4 * MIB))


def _fill(path: Path, size: int) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        for _ in range(size // 4096 + 1):
            file.write(bytes(4096))


@entry()
def file_system_full(folder: Path) -> None:
    """Write a checkpoint to a file system without room for it."""
    _small_mount(folder / "disk", "1m")
    (folder / "disk" / "checkpoint").write_bytes(bytes(2 * MIB))


@entry()
def database_full(folder: Path) -> None:
    """Fill a database's file system."""
    _small_mount(folder / "disk", "1m")
    connection = sqlite3.connect(folder / "disk" / "rows.db")
    connection.execute("create table rows (data blob)")
    while True:
        connection.execute("insert into rows values (?)", (bytes(65536),))
        connection.commit()


# silence


@entry()
def sleeps(_: Path) -> None:
    """Wait for something that never comes."""
    time.sleep(600)


@entry()
def stops(_: Path) -> None:
    """Be stopped, as by a debugger or a terminal."""
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(600)


@entry()
def deadlocks(_: Path) -> None:
    """Take one lock twice."""
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


@entry()
def spins(_: Path) -> None:
    """Compute without end and without a word."""
    while True:
        pass


def works_on(folder: str) -> int:
    """Go on training beyond any deadline."""
    progress = Progress(Path(folder))
    progress.enter("typical")
    while True:
        progress.beat()
        time.sleep(0.02)


# pipes, users, crashes


@entry()
def broken_pipe(_: Path) -> None:
    """Write to a pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    os.write(writer, b"x")


@entry()
def broken_pipe_native(_: Path) -> None:
    """Do the same in a program that is not Python."""
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 1)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execvp("yes", ["yes"])


@entry()
def raises(_: Path) -> None:
    """Fail in the user's own code."""
    raise ValueError("expected 3 labels, found 4")


@entry()
def speaks_of_memory(_: Path) -> None:
    """Fail in the user's own code, with words that a kernel or a driver would use."""
    raise RuntimeError("CUDA out of memory. Killed: oom_kill, exit code 137")


def exits_137(_: str) -> int:
    """End with what a shell says of a killed program."""
    return 137


def exits_silently(_: str) -> int:
    """End in good order without an outcome."""
    return 0


def writes_half(folder: str) -> int:
    """Leave an outcome that is cut off."""
    Path(folder, "outcome.json").write_text('{"status": "ok", "measurements": {"loss": 1.')
    return 0


def crashes(_: str) -> int:
    """Read where there is nothing."""
    ctypes.string_at(0)
    return 0
