"""Our end of the process that probes are forked from: start it, fork, let go, hear of the end, start it again."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from autobatch.arguments import OPENMP
from autobatch.errors import MachineError
from autobatch.isolation import proc

MARK = "AUTOBATCH_TREE"
"""Environment variable of every process that we start; its value begins with our pid and a dash."""
_PACKET_BYTES = 1 << 20
_READY_S = 600.0
"""Imports took 16-25 s on a host with 16 cores; a cold network disk takes minutes."""
_ANSWER_S = 60.0
_END_S = 10.0
_GROWTH_BYTES = 512 << 20
"""A parent that has grown by this since it was ready is replaced."""


class ParentDiedError(Exception):
    """The process that forks has gone; its children went with it."""


class PreloadedParent:
    """A `autobatch.probe.preload` process and the socket to it.

    Args:
        folder: where its log goes.
        bare: let it import nothing, so that each child is a cold start.
        modules: modules to import beside the libraries.
        keep_open: descriptors that it and its children inherit.

    """

    def __init__(
        self,
        folder: Path,
        *,
        bare: bool,
        modules: tuple[str, ...] = (),
        keep_open: tuple[int, ...] = (),
    ) -> None:
        self._log = folder / "preload.log"
        self._bare = bare
        self._modules = modules
        self._keep_open = keep_open
        self._token = f"{os.getpid()}-{secrets.token_hex(6)}"
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._ready_bytes = 0
        self.facts: dict[str, Any] = {}
        """What it said when it was ready: pid, import_s, missing, cuda."""

    @property
    def mark(self) -> str:
        """In the environment of every process started here: by it they are found, whoever adopted them."""
        return f"{MARK}={self._token}"

    @property
    def pid(self) -> int | None:
        """Its pid; None where it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start it; its imports go on beside us until `ensure` waits for them."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "autobatch.probe.preload", "--socket", str(theirs.fileno())]
        command += ["--bare"] if self._bare else [part for name in self._modules for part in ("--module", name)]
        with open(self._log, "ab", opener=partial(os.open, mode=0o600)) as log, theirs:
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno(), *self._keep_open],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, MARK: self._token, **_openmp()},
                start_new_session=True,
            )
        self._socket = ours
        self.facts = {}

    def ensure(self) -> None:
        """Have it running, ready and no larger than it should be.

        Raises:
            MachineError: it does not start.

        """
        if self.facts and self._has_grown():
            self.close()
        if self.pid is None:
            self.close()
            self.start()
        if not self.facts:
            try:
                self.facts = self._receive(_READY_S)
            except ParentDiedError as error:
                raise self._did_not_start() from error
            self._ready_bytes = proc.resident_bytes(self.facts["ready"])

    @property
    def inherited_bytes(self) -> int:
        """Memory that a fork shares with it, charged to us and not to the probe."""
        return 0 if self._bare else self._ready_bytes

    def _has_grown(self) -> bool:
        return self.pid is not None and proc.resident_bytes(self.pid) > self._ready_bytes + _GROWTH_BYTES

    def _did_not_start(self) -> MachineError:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return MachineError(
            f"The process that starts probes died: {lines[-1] if lines else 'it said nothing'}",
            f"Look at {self._log}; `python -m autobatch doctor` checks the libraries.",
        )

    def fork(self, order: Mapping[str, Any]) -> int:
        """Fork a child that waits at its gate; return its pid. A parent that is found gone is started again, once.

        Raises:
            MachineError: the parent dies again, or the system refuses another process.

        """
        try:
            message = self._ask_for_fork(order)
        except ParentDiedError:
            self.close()
            self.ensure()
            try:
                message = self._ask_for_fork(order)
            except ParentDiedError as error:
                raise self._did_not_start() from error
        if "failed" in message:
            raise MachineError(
                f"No probe can be started: {message['failed']}", "Raise the limit on processes, or end some."
            )
        return int(message["forked"])

    def _ask_for_fork(self, order: Mapping[str, Any]) -> dict[str, Any]:
        self._send(fork=dict(order))
        message = self._receive(_ANSWER_S)
        while "exited" in message:
            message = self._receive(_ANSWER_S)
        return message

    def go(self, pid: int) -> None:
        """Let the child run."""
        self._send(go=pid)

    def wait(self, timeout_s: float) -> dict[str, Any] | None:
        """Wait for word of a child that ended (`exited`, `status`, `max_resident_bytes`); None if none came in time.

        Raises:
            ParentDiedError: the parent is gone.

        """
        assert self._socket is not None
        ready, _, _ = select.select([self._socket], [], [], max(0.0, timeout_s))
        return self._receive(0) if ready else None

    def close(self) -> None:
        """Close the socket, on which it kills its descendants and ends; insist if it does not."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(15 if self.facts else 0.2)
            proc.kill([*proc.descendants(self._process.pid), self._process.pid] if self.pid else [])
            self._process.wait()
            self._process = None
        self.facts = {}
        self._end_marked()

    def _end_marked(self) -> None:
        deadline = time.monotonic() + _END_S
        while (left := proc.marked(self.mark)) and time.monotonic() < deadline:
            proc.kill(left)
            time.sleep(0.01)

    def _send(self, **message: object) -> None:
        assert self._socket is not None
        try:
            self._socket.send(json.dumps(message).encode())
        except OSError as error:
            raise ParentDiedError from error

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        assert self._socket is not None
        deadline = time.monotonic() + timeout_s
        ready, _, _ = select.select([self._socket], [], [], max(0.0, deadline - time.monotonic()))
        try:
            packet = self._socket.recv(_PACKET_BYTES) if ready else b""
        except OSError as error:
            raise ParentDiedError from error
        if not packet:
            raise ParentDiedError
        message: dict[str, Any] = json.loads(packet)
        return message


def _openmp() -> dict[str, str]:
    """Return OpenMP's settings: the user's, else ours, and as many threads as torch would take."""
    usual = {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))), **OPENMP}
    return {name: os.environ.get(name) or value for name, value in usual.items()}
