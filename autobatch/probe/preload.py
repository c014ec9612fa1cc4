"""The process that probes are forked from: it has imported everything and never touches CUDA.

    python -m autobatch.probe.preload --socket FD [--bare] [--module NAME ...]
    python -m autobatch.probe.preload --run FOLDER --entry MODULE:FUNCTION

The first form serves a connected SOCK_SEQPACKET socket, one JSON message a packet. It says `ready`; to `fork` it
answers `forked` with the pid of a child that waits at a gate until it is told `go`, and later `exited`. With `--bare`
it imports nothing, and a child executes the second form: a cold start through the same door. When the socket closes,
every descendant is killed, those in sessions of their own included.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autobatch.isolation import proc

ENTRY = "autobatch.probe.child:main"
"""What a probe runs: a function of its folder that returns an exit status."""
LIBRARIES = (
    "torch",
    "transformers",
    "transformers.trainer",
    "transformers.trainer_seq2seq",
    "accelerate",
    "peft",
    "bitsandbytes",
)
_PACKET_BYTES = 1 << 20
_FAILED = 1


def import_libraries(modules: tuple[str, ...] = ()) -> dict[str, str]:
    """Import what a probe needs, CUDA left alone.

    Args:
        modules: more modules to have ready, such as the model's.

    Returns:
        What could not be imported, with the reason: a probe that needs it will say so itself.

    """
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    from autobatch.probe.cuda_shim import answers_from_nvml

    missing: dict[str, str] = {}
    with answers_from_nvml():
        for name in (*LIBRARIES, ENTRY.partition(":")[0], *modules):
            try:
                importlib.import_module(name)
            except Exception as error:  # noqa: BLE001 - libraries fail to import in any way they like
                missing[name] = f"{type(error).__name__}: {error}"
    return missing


def run_entry(folder: str, entry: str) -> int:
    """Run a probe's function; an exception it lets out goes to the log with its traceback."""
    module, _, function = entry.partition(":")
    try:
        _note_time(folder, "process")
        run = getattr(importlib.import_module(module), function)
        _note_time(folder, "imports")
        return int(run(folder) or 0)
    except SystemExit as request:
        return request.code if isinstance(request.code, int) else _FAILED * bool(request.code)
    except BaseException:  # noqa: BLE001 - the log is the only place left to say it
        traceback.print_exc()
        return _FAILED


def _note_time(folder: str, name: str) -> None:
    """Add the moment (CLOCK_MONOTONIC, s) to `entered.json`, from which the parent knows what starting took."""
    path = Path(folder, "entered.json")
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**known, name: time.monotonic()}))


def _leave(code: int) -> None:
    """End without the interpreter's farewell: the parent's exit handlers are not ours to run."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


class Server:
    """Forks children on request and tells how they ended."""

    def __init__(self, connection: socket.socket, *, bare: bool) -> None:
        self._socket = connection
        self._bare = bare
        self._gates: dict[int, int] = {}
        self._client = os.getppid()
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        os.set_blocking(self._wake, False)
        signal.set_wakeup_fd(self._waker)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        """Serve until the client is gone, then kill what is left below us."""
        try:
            while self._client_is_there():
                ready, _, _ = select.select([self._socket.fileno(), self._wake], [], [], 1.0)
                if self._wake in ready:
                    os.read(self._wake, 4096)
                if self._socket.fileno() in ready and not self._answer():
                    return
                self._reap()
        finally:
            self._end_descendants()

    def _client_is_there(self) -> bool:
        return os.getppid() == self._client

    def send(self, **message: object) -> None:
        """Send one message; a client that has gone is found out by the next read."""
        with contextlib.suppress(OSError):
            self._socket.send(json.dumps(message).encode())

    def _answer(self) -> bool:
        try:
            packet = self._socket.recv(_PACKET_BYTES)
        except ConnectionResetError:
            return False
        if not packet:
            return False
        message = json.loads(packet)
        if "fork" in message:
            self._fork(message["fork"])
        elif "go" in message:
            os.write(gate := self._gates.pop(message["go"]), b"g")
            os.close(gate)
        return True

    def _fork(self, order: Mapping[str, Any]) -> None:
        gate_read, gate_write = os.pipe()
        try:
            pid = os.fork()
        except OSError as error:
            os.close(gate_read)
            os.close(gate_write)
            self.send(failed=str(error))
            return
        if pid == 0:
            os.close(gate_write)
            self._become_probe(order, gate_read)
        os.close(gate_read)
        self._gates[pid] = gate_write
        self.send(forked=pid)

    def _become_probe(self, order: Mapping[str, Any], gate: int) -> None:
        code = _FAILED
        try:
            self._let_go(order["folder"])
            if os.read(gate, 1):
                os.close(gate)
                code = _start(order, bare=self._bare)
        except BaseException:  # noqa: BLE001 - nothing may run on as a second server
            traceback.print_exc()
        finally:
            _leave(code)

    def _let_go(self, folder: str) -> None:
        """Drop what is the server's: its session, signals, descriptors and output."""
        proc.die_with_parent()
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        log = os.open(Path(folder, "log.txt"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        inherited = [self._socket.fileno(), self._wake, self._waker, log, *self._gates.values()]
        for descriptor in inherited:
            os.close(descriptor)

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if gate := self._gates.pop(pid, None):
                os.close(gate)
            self.send(exited=pid, status=os.waitstatus_to_exitcode(status), max_resident_bytes=usage.ru_maxrss * 1024)

    def _end_descendants(self) -> None:
        deadline = time.monotonic() + 10
        while (left := proc.descendants(os.getpid())) and time.monotonic() < deadline:
            proc.kill(left)
            self._reap()
            time.sleep(0.002)


def _start(order: Mapping[str, Any], *, bare: bool) -> int:
    """Put on the probe's own environment and run it; comes back only with an exit status."""
    for name, value in order["environment"].items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if "oom_score_adj" in order:
        Path("/proc/self/oom_score_adj").write_text(str(order["oom_score_adj"]))
    folder, entry = order["folder"], order["entry"]
    if bare:
        command = [sys.executable, "-m", __spec__.name, "--run", folder, "--entry", entry]
        os.execv(sys.executable, command)  # noqa: S606 - no shell is wanted
    faulthandler.enable()
    return run_entry(folder, entry)


def _serve(descriptor: int, modules: tuple[str, ...], *, bare: bool) -> None:
    """Import, then serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    proc.adopt_orphans()
    server = Server(socket.socket(fileno=descriptor), bare=bare)
    began = time.monotonic()
    missing = {} if bare else import_libraries(modules)
    # what lives now lives for good: a collection in a child would only copy its pages
    gc.collect()
    gc.freeze()
    server.send(ready=os.getpid(), import_s=time.monotonic() - began, missing=missing, cuda=_cuda_is_initialized())
    server.serve()


def _cuda_is_initialized() -> bool:
    return "torch" in sys.modules and bool(sys.modules["torch"].cuda.is_initialized())


def main() -> None:
    """Serve forks, or run one probe cold."""
    parser = argparse.ArgumentParser(prog="python -m autobatch.probe.preload")
    parser.add_argument("--socket", type=int)
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--module", action="append", default=[])
    parser.add_argument("--run", metavar="FOLDER")
    parser.add_argument("--entry", default=ENTRY)
    options = parser.parse_args()
    if not sys.flags.safe_path:
        # the present folder, by `-m`: an entry may lie there, but nothing that is imported instead of a library
        sys.path.append(sys.path.pop(0))
    if options.run:
        faulthandler.enable()
        _leave(run_entry(options.run, options.entry))
    _serve(options.socket, tuple(options.module), bare=options.bare)


if __name__ == "__main__":
    main()
