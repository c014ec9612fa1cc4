"""One search a GPU: a lock that the kernel holds for us, and for our probes after us."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from autobatch.errors import MachineError
from autobatch.isolation import proc
from autobatch.store.owner import command

if TYPE_CHECKING:
    from autobatch.machine.gpus import Gpu

CPU = "cpu"
"""Identity of the machine's processors, for searches without a GPU."""
FOLDER_VARIABLE = "AUTOBATCH_LOCKS"
_RECORD_BYTES = 4096


def identity_of(gpu: Gpu | None) -> str:
    """Return what a search on a GPU, or without one, locks."""
    return gpu.uuid if gpu else CPU


class InUseError(MachineError):
    """Another process holds the lock."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: the process that took it, whether it still runs, and what else keeps it held."""

    pid: int | None
    command: str
    since: float | None
    """Seconds since the epoch."""
    is_alive: bool
    keepers: tuple[int, ...]
    """Processes that have the lock's file open now, as far as we may see them."""

    def __str__(self) -> str:
        """Return one line for a person."""
        since = "" if self.since is None else time.strftime(" since %Y-%m-%d %H:%M:%S", time.localtime(self.since))
        who = f"process {self.pid}{since} ({self.command})" if self.pid else "another process"
        if self.is_alive or not self.keepers:
            return who
        return f"{who}, which is gone but has left process {', '.join(map(str, self.keepers))} behind"


class GpuLock:
    """Exclusive use of one GPU among this user's searches.

    The lock is on an open file, so that it lasts until every process that inherited the descriptor has closed it: pass
    `fileno()` on to the probes (`pass_fds`), and a killed search's GPU stays taken until its orphan is gone.

    Args:
        identity: the GPU's UUID, or `CPU`.
        folder: where the locks lie; every search of this user must look in the same one.

    """

    def __init__(self, identity: str, folder: Path | None = None) -> None:
        self.identity = identity
        self._folder = folder or runtime_folder()
        self.path = self._folder / f"{re.sub(r'[^A-Za-z0-9.-]', '_', identity)}.lock"
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def fileno(self) -> int:
        """Return the inheritable descriptor that holds the lock."""
        assert self._descriptor is not None, "the lock is held"
        return self._descriptor

    def acquire(self) -> None:
        """Take the lock, at once or not at all.

        Raises:
            InUseError: another process holds it, and the message says who.
            MachineError: its file cannot be made.

        """
        _make_private(self._folder)
        try:
            while (descriptor := self._try()) is None:
                pass
        except OSError as error:
            what = f"The lock {self.path} cannot be taken: {error.strerror}."
            do = f"Free some space there and allow writing, or name another folder in {FOLDER_VARIABLE}."
            raise MachineError(what, do) from error
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - positional only
        _write_record(descriptor)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go; children that inherited the descriptor hold on until they end."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _try(self) -> int | None:
        """Return the locked descriptor, or None where the file lost its name while we locked it."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self.path.exists() and os.path.samestat(os.fstat(descriptor), self.path.stat()):
                return descriptor
        except BlockingIOError:
            holder = holder_of(descriptor, self.path)
            os.close(descriptor)
            what = f"{self.identity} is in use by {holder}."
            raise InUseError(what, "Wait for it, end it, or choose another device.") from None
        os.close(descriptor)
        return None


def runtime_folder() -> Path:
    """Return this user's folder for locks: one for all sessions, containers and daemons that share /tmp.

    `AUTOBATCH_LOCKS` names another, for containers that share a card and no /tmp, and for tests.
    """
    if named := os.environ.get(FOLDER_VARIABLE):
        return Path(named)
    # neither TMPDIR nor XDG_RUNTIME_DIR: they differ between the sessions of one user, whose searches must meet
    return Path(f"/tmp/autobatch-{os.getuid()}")  # noqa: S108 - private, and its owner is checked


def holder_of(descriptor: int, path: Path) -> Holder:
    """Return who holds the lock on an open lock file."""
    keepers = tuple(pid for pid in _with_open(path) if pid != os.getpid())
    try:
        record = json.loads(os.pread(descriptor, _RECORD_BYTES, 0))
        pid, since = int(record["pid"]), float(record["since"])
        is_alive = proc.is_same(pid, int(record["start_time_ticks"]))
        return Holder(pid, str(record["command"]), since, is_alive, keepers)
    except (ValueError, KeyError, TypeError, RecursionError):
        return Holder(None, "", None, is_alive=True, keepers=keepers)


def _write_record(descriptor: int) -> None:
    now = proc.stat(os.getpid())
    ticks = now.start_ticks if now is not None else 0
    record = {"pid": os.getpid(), "start_time_ticks": ticks, "command": command(os.getpid()), "since": time.time()}
    # on a full disk the lock is held all the same; it only cannot say by whom
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(record).encode(), 0)


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise MachineError(f"The folder {folder} for locks cannot be made: {error.strerror}.", "Make it.") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        what = f"The folder {folder} for locks is not this user's own."
        raise MachineError(what, "Remove it; it is made again with the right permissions.")


def _with_open(path: Path) -> list[int]:
    """Return the processes that have a file open, as far as we may see."""
    wanted = path.stat()
    found = []
    for folder in proc.PROC.glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):
            if any(_is_same(link, wanted) for link in folder.iterdir()):
                found.append(int(folder.parent.name))
    return found


def _is_same(link: Path, wanted: os.stat_result) -> bool:
    try:
        return os.path.samestat(wanted, link.stat())
    except OSError:
        return False
