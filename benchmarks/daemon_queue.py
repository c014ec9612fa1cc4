"""A queue of short searches with real probes on the CPU, as the daemon's benchmark works it: commands and checks."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from autobatch.daemon import control, places, presence
from autobatch.isolation import proc

Standing = dict[int, dict[str, Any]]
OVER = {"done", "stopped", "cancelled", "failed"}
AT_WORK = {"running", "waiting", "finishing"}
_WITHOUT_RESULT = {"killed", "killed_in_flight", "no_verdict"}
COMMAND_S = 120.0
"""No command of ours takes as long: none of them runs a probe."""
_HELD = [
    "--model=demo", "--budget=10m", "--sampler=grid", "--device=cpu",
    "--fix=precision=fp32", "--fix=gradient_checkpointing=false", "--fix=dataloader_num_workers=0",
    "--fix=per_device_eval_batch_size=8",
]  # fmt: skip


def autobatch(*arguments: str, database: Path) -> str:
    """Run a command of ours, and return what it printed; one that fails is an error with its own words."""
    command = [sys.executable, "-m", "autobatch", *arguments, "--db", str(database)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=database.parent, timeout=COMMAND_S)
    if done.returncode:
        message = f"autobatch {' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()}"
        raise RuntimeError(message)
    return done.stdout


def submit(database: Path, number: int, micro_batches: str) -> int:
    """Queue one short search with a study of its own, `sNUMBER`."""
    options = [
        *_HELD,
        f"--study=s{number}",
        f"--seed={number}",
        f"--search=per_device_train_batch_size={micro_batches}",
    ]
    return int(autobatch("search", *options, "--detach", database=database).split()[3].rstrip(":"))


def searches(database: Path) -> Standing:
    """Return how every search stands, as a script reads it."""
    return {one["search"]: one for one in json.loads(autobatch("status", "--json", database=database))["searches"]}


def wait(database: Path, until: Callable[[Standing], bool], limit_s: float) -> Standing:
    """Wait until the queue stands as wanted; a wait that is too long is an error."""
    deadline = time.monotonic() + limit_s
    while not until(now := searches(database)):
        if time.monotonic() > deadline:
            raise TimeoutError(json.dumps(now))
        time.sleep(0.2)
    return now


def untrue(database: Path) -> list[str]:
    """Return where `status` and the processes differ, looked at until they agree for at most five seconds."""
    deadline, found = time.monotonic() + 5, ["not looked yet"]
    while found and time.monotonic() < deadline:
        now = searches(database)
        named = {number: _is_worked_on(database, number) for number in now}
        found = [
            f"search {number} is {one['state']}, its process {'lives' if named[number] else 'is gone'}"
            for number, one in now.items()
            if (one["state"] in AT_WORK) != named[number]
        ]
    return found


def _is_worked_on(database: Path, number: int) -> bool:
    words = [b"autobatch.daemon.worker", str(database).encode(), str(number).encode()]
    return any(b"\0".join(words) in line for line in _command_lines())


def kill_daemon(database: Path) -> None:
    """SIGKILL the daemon, and start another."""
    found = presence.find(database)
    if found is not None and (pid := found.pid) is not None:
        proc.kill([pid], signal.SIGKILL)
        while (now := presence.find(database)) is not None and now.pid == pid:
            time.sleep(0.01)
    control.start(database)


def probed(database: Path, study: str) -> dict[str, list[str]]:
    """Return what the probes of each configuration for each purpose came to, in order."""
    found: dict[str, list[str]] = {}
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(
            "SELECT purpose || ' ' || digest, kind FROM ab_probes WHERE study = ? ORDER BY probe_id", (study,)
        )
        for what, kind in rows:
            found.setdefault(what, []).append(str(kind))
    return found


def with_result(kinds: Sequence[str]) -> int:
    """Count the probes that said something of their configuration: not those that were killed, or whose parent was."""
    return sum(kind not in _WITHOUT_RESULT for kind in kinds)


def put_back(database: Path) -> Counter[str]:
    """Return why daemons found a search without its process, and how often, by the daemons' log."""
    return Counter(re.findall(r"search \d+: (.+); it goes on where it was", places.log(database).read_text()))


def _command_lines() -> list[bytes]:
    found = []
    for folder in proc.PROC.glob("[0-9]*"):
        try:
            found.append((folder / "cmdline").read_bytes())
        except OSError:
            continue
    return found
