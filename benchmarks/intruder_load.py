"""A foreign process on the card: the process itself, in plain torch, and the handle of whoever starts it.

    python -m benchmarks.intruder_load --device cuda:0 --gib 4 --longest-s 60 [--seated]

It says `ready` once torch is imported (with `--seated`, once it has a CUDA context, too), waits for a line on standard
input, allocates, says `holds`, and multiplies matrices until standard input is closed or its longest time is over. So
it does not outlive the one who started it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.forks import tail
from benchmarks.scratch import ROOT

READY_S = 120.0
"""Importing torch takes some 10 s on a busy host."""
HOLD_S = 60.0
LEAVE_S = 20.0
_BURST = 16
"""Products between two looks at whether to go on: some milliseconds on a card."""


class Intruder:
    """A foreign process; a context manager that ends it.

    Args:
        device: `cuda:0`, ... or `cpu`.
        gib: what it will hold, in GiB.
        log: file for what it says.
        longest_s: it ends by itself after computing for this long.
        seated: whether it is on the card, idle, before it enters.

    """

    def __init__(self, device: str, gib: float, log: Path, longest_s: float, *, seated: bool = False) -> None:
        numbers = ["--gib", str(gib), "--longest-s", str(longest_s)]
        command = [sys.executable, "-m", "benchmarks.intruder_load", "--device", device, *numbers]
        command += ["--seated"] if seated else []
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output, cwd=ROOT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Wait until it could enter at once.

        Raises:
            RuntimeError: it has ended.
            TimeoutError: it takes too long.

        """
        self._wait_for("ready", READY_S)

    def enter(self) -> float:
        """Let it take its memory and compute; return when it had it, in seconds since the epoch.

        Raises:
            RuntimeError: it has ended, as where the card has not got as much.
            TimeoutError: it takes too long.

        """
        assert self._process.stdin is not None
        os.write(self._process.stdin.fileno(), b"\n")
        self._wait_for("holds", HOLD_S)
        return time.time()

    def leave(self) -> float:
        """Let it end by itself; return when it had, in seconds since the epoch.

        Raises:
            RuntimeError: it ended badly, or before.
            subprocess.TimeoutExpired: it does not end.

        """
        before = self._process.poll()
        self._close_input()
        self._process.wait(LEAVE_S)
        if before is not None or self._process.returncode != 0:
            message = f"the intruder ended with {self._process.returncode}: {tail(self._log)}"
            raise RuntimeError(message)
        return time.time()

    def kill(self) -> float:
        """Kill it as it stands; return when it was gone, in seconds since the epoch."""
        self._process.kill()
        self._close_input()
        self._process.wait()
        return time.time()

    def _close_input(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _wait_for(self, word: str, limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        while word not in self._log.read_text(errors="replace").split():
            if self._process.poll() is not None:
                message = f"the intruder ended with {self._process.returncode}: {tail(self._log)}"
                raise RuntimeError(message)
            if time.monotonic() > deadline:
                message = f"the intruder did not say {word!r} within {limit_s:.0f} s: {tail(self._log)}"
                raise TimeoutError(message)
            time.sleep(0.05)


def compute(device: str, gib: float, longest_s: float, stop: threading.Event) -> int:
    """Hold memory and multiply matrices, until told to stop or for as long as allowed; return how many products."""
    import torch

    is_card = device != "cpu"
    size, kind = (4096, torch.bfloat16) if is_card else (256, torch.float32)
    held = torch.empty(int(gib * 2**30), dtype=torch.uint8, device=device)
    matrix, product = (torch.ones(size, size, dtype=kind, device=device) for _ in range(2))
    print(f"holds {held.numel() / 2**30:.1f} GiB", flush=True)
    ends, done = time.monotonic() + longest_s, 0
    while not stop.is_set() and time.monotonic() < ends:
        for _ in range(_BURST):
            torch.matmul(matrix, matrix, out=product)
        done += _BURST
        if is_card:
            torch.cuda.synchronize()
    return done


def _set_at_end_of_input(stop: threading.Event) -> None:
    # not sys.stdin: a thread that waits in it would spoil the end of the interpreter
    while os.read(0, 1):
        pass
    stop.set()


def main() -> None:
    """Be the intruder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--gib", type=float, required=True)
    parser.add_argument("--longest-s", type=float, required=True)
    parser.add_argument("--seated", action="store_true", help="be on the card, idle, from the beginning")
    options = parser.parse_args()
    import torch

    seat = torch.zeros(1, device=options.device) if options.seated else None
    print("ready", flush=True)
    if not os.read(0, 1):
        return
    stop = threading.Event()
    threading.Thread(target=_set_at_end_of_input, args=(stop,), daemon=True).start()
    print(f"computed {compute(options.device, options.gib, options.longest_s, stop)} products", flush=True)
    del seat


if __name__ == "__main__":
    main()
