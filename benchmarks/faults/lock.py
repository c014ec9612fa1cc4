"""Two to eight searches on one GPU, with kills among them: never two owners, a killed one's orphan included."""

from __future__ import annotations

import mmap
import os
import random
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from autobatch.errors import MachineError
from autobatch.isolation import proc
from autobatch.store.lock import GpuLock
from benchmarks.faults import Line, scaled
from benchmarks.faults.survey import Tally

STARTS = 1000
GPU = "GPU-00000000-0000-0000-0000-000000000000"
"""A stand-in for a card's identity."""
_SLOT = struct.Struct("qq")
_SLOTS = 64
_PROBE_S = 0.03
_HOLD_S = 0.02
_KILL_SHARE = 0.5


def run(folder: Path, scale: float) -> Iterator[Line]:
    """Yield a line for each number of searches at once."""
    for searches in range(2, 9):
        yield contend(folder / str(searches), searches, scaled(STARTS, scale))


def contend(folder: Path, searches: int, starts: int, seed: int = 0) -> Line:
    """Start so many searches at once, again and again; kill half of them; count how often one got the GPU."""
    folder.mkdir(parents=True, mode=0o700)
    tally = Tally(f"{searches} searches started on one GPU, half of them killed")
    generator = random.Random(seed)
    board = Board()
    living: set[int] = set()
    for _ in range(starts):
        while len(living) < searches:
            living.add(_fork_search(folder, board, generator.random()))
        time.sleep(generator.uniform(0, 0.01))
        victim = generator.choice(sorted(living))
        if generator.random() < _KILL_SHARE:
            os.kill(victim, signal.SIGKILL)
        status = os.waitpid(victim, 0)[1]
        living.remove(victim)
        failed = None if os.WIFSIGNALED(status) or status == 0 else f"a search failed: {status}"
        tally.add(board.problem() or failed, lost=failed is None)
    for pid in living:
        os.waitpid(pid, 0)
    tally.notes = {"owners": board.owners}
    return tally.line()


class Board:
    """Memory shared by all: who says that he owns the GPU, or works on it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SLOT.size * (_SLOTS + 1))

    @property
    def owners(self) -> int:
        """How often the GPU has been taken."""
        return int(_SLOT.unpack_from(self._memory, 0)[0])

    def problem(self) -> str | None:
        """Return what went wrong since the last call."""
        owners, doubles = _SLOT.unpack_from(self._memory, 0)
        _SLOT.pack_into(self._memory, 0, owners, 0)
        return f"{doubles} found another owner" if doubles else None

    def take(self) -> None:
        """Claim the GPU: nobody who claimed it before may live."""
        owners, doubles = _SLOT.unpack_from(self._memory, 0)
        _SLOT.pack_into(self._memory, 0, owners + 1, doubles + any(proc.is_same(*claim) for claim in self._claims()))
        for slot in range(1, _SLOTS + 1):
            _SLOT.pack_into(self._memory, slot * _SLOT.size, 0, 0)

    def claim(self, slot: int, pid: int) -> None:
        """Say that a process works on the GPU."""
        now = proc.stat(pid)
        if now is not None:
            _SLOT.pack_into(self._memory, slot * _SLOT.size, pid, now.start_ticks)

    def leave(self, slot: int) -> None:
        """Say that it does no longer."""
        _SLOT.pack_into(self._memory, slot * _SLOT.size, 0, 0)

    def _claims(self) -> Iterator[tuple[int, int]]:
        for slot in range(1, _SLOTS + 1):
            pid, ticks = _SLOT.unpack_from(self._memory, slot * _SLOT.size)
            if pid:
                yield pid, ticks


def _fork_search(folder: Path, board: Board, seed: float) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _search(folder, board, random.Random(seed))
            code = 0
        finally:
            os._exit(code)
    return pid


def _search(folder: Path, board: Board, generator: random.Random) -> None:
    """Wait for the GPU, work on it with a probe, and let go before the probe ends."""
    lock = GpuLock(GPU, folder)
    while True:
        try:
            lock.acquire()
            break
        except MachineError:
            time.sleep(generator.uniform(0, 0.005))
    board.take()
    board.claim(1, os.getpid())
    _fork_probe(board, generator.uniform(0, _PROBE_S))
    time.sleep(generator.uniform(0, _HOLD_S))
    board.leave(1)
    lock.release()


def _fork_probe(board: Board, life_s: float) -> None:
    pid = os.fork()
    if pid == 0:
        time.sleep(life_s)
        board.leave(2)
        os._exit(0)
    board.claim(2, pid)
