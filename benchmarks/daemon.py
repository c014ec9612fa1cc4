"""The daemon under fire: three searches with a pause, a cancellation and two deaths, and random kills under a queue.

    python -m benchmarks.daemon [--kills 200] [--searches 6] [--json FILE]

Real probes of a tiny model on the CPU. Counted: searches that ended as they should, trials that differ from those of an
undisturbed search, configurations probed more than once, processes left.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from autobatch.daemon import control, presence
from autobatch.daemon.standing import status
from autobatch.isolation import proc

_SPACE = [
    "--fix=precision=fp32", "--fix=gradient_checkpointing=false", "--fix=dataloader_num_workers=0",
    "--fix=per_device_eval_batch_size=8", "--search=per_device_train_batch_size=8,16",
]  # fmt: skip
Standing = dict[int, dict[str, Any]]
_OVER = {"done", "stopped", "cancelled", "failed"}


def autobatch(*arguments: str, database: Path) -> str:
    """Run a command of ours, and return what it printed."""
    command = [sys.executable, "-m", "autobatch", *arguments, "--db", str(database)]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=database.parent).stdout


def submit(database: Path, seed: int) -> int:
    """Queue one short search; its seed makes it a study of its own."""
    options = ["--model=demo", "--budget=10m", "--sampler=grid", f"--study=s{seed}", f"--seed={seed}", *_SPACE]
    return int(autobatch("search", *options, "--detach", database=database).split()[3].rstrip(":"))


def searches(database: Path) -> Standing:
    """Return how every search stands."""
    return {one["search"]: dict(one) for one in status(database)["searches"]}


def wait(database: Path, until: Callable[[Standing], bool], limit_s: float) -> Standing:
    """Wait until the queue stands as wanted; a wait that is too long is an error."""
    deadline = time.monotonic() + limit_s
    while not until(now := searches(database)):
        if time.monotonic() > deadline:
            raise TimeoutError(json.dumps(now))
        time.sleep(0.2)
    return now


def kill_daemon(database: Path) -> None:
    """SIGKILL the daemon, and start another."""
    found = presence.find(database)
    if found is not None and found.pid is not None:
        os.kill(found.pid, signal.SIGKILL)
        while presence.find(database) is not None:
            time.sleep(0.02)
    control.start(database)


def probed(database: Path, study: str) -> Counter[str]:
    """Return how often each configuration was probed for each purpose, those killed in flight left out."""
    with sqlite3.connect(database) as connection:
        rows = connection.execute(
            "SELECT purpose || ' ' || digest FROM ab_probes WHERE study = ?"
            " AND kind NOT IN ('killed_in_flight', 'killed')",
            (study,),
        )
        return Counter(row[0] for row in rows)


def left_over(database: Path) -> list[int]:
    """Return processes that still name the database, ourselves left out."""
    mark = str(database).encode()
    found = []
    for folder in proc.PROC.glob("[0-9]*"):
        try:
            if mark in (folder / "cmdline").read_bytes() and int(folder.name) != os.getpid():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def scenario(folder: Path) -> dict[str, Any]:
    """Three searches: one paused and resumed, one cancelled in its probe, the daemon killed twice on the way."""
    quiet, database = folder / "quiet.db", folder / "trials.db"
    submit(quiet, 1)
    wait(quiet, lambda now: now[1]["state"] == "done", 300)
    autobatch("daemon", "stop", database=quiet)
    for seed in (1, 2, 3):
        submit(database, seed)
    wait(database, lambda now: now[1]["worker"] is not None and bool(probed(database, "s1")), 200)
    kill_daemon(database)
    autobatch("pause", "1", database=database)
    wait(database, lambda now: now[1]["state"] == "paused", 200)
    kill_daemon(database)
    autobatch("resume", "1", database=database)
    wait(database, lambda now: now[2]["study"] is not None, 300)
    time.sleep(8)
    autobatch("cancel", "2", database=database)
    ended = wait(database, lambda now: all(one["state"] in _OVER for one in now.values()), 400)
    autobatch("daemon", "stop", database=database)
    time.sleep(2)
    expected = {key.split()[1] for key in probed(quiet, "s1") if key.startswith("probe")}
    same = [s for s in ("s1", "s3") if {k.split()[1] for k in probed(database, s) if k.startswith("probe")} == expected]
    return {
        "states": {number: one["state"] for number, one in ended.items()},
        "same_trials_as_undisturbed": same,
        "left_over": left_over(database),
    }


def _victims(database: Path) -> list[tuple[str, int]]:
    """Return what may be killed now: the daemon, preloaded parents, probes."""
    found: list[tuple[str, int]] = []
    holder = presence.find(database)
    if holder is not None and holder.pid is not None:
        found += [("daemon", holder.pid)] * 6
    for one in searches(database).values():
        if one["worker"] is not None:
            parents = proc.children(one["worker"])
            found += [("preloaded parent", pid) for pid in parents]
            found += [("probe", pid) for parent in parents for pid in proc.children(parent)]
    return found


def kills(folder: Path, count: int, wanted: int, seed: int) -> dict[str, Any]:
    """Kill at random under a queue of short searches, refilled until `count` kills are done."""
    database, rng = folder / "trials.db", random.Random(seed)
    killed: Counter[str] = Counter()
    submitted = 0
    while killed.total() < count or submitted < wanted:
        open_ones = [one for one in searches(database).values() if one["state"] not in _OVER] if submitted else []
        if len(open_ones) < 2:
            submitted += 1
            submit(database, submitted)
        time.sleep(rng.uniform(0.5, 4.0))
        victims = _victims(database)
        if victims and killed.total() < count:
            name, pid = rng.choice(victims)
            if name == "daemon":
                kill_daemon(database)
            else:
                proc.kill([pid])
            killed[name] += 1
    ended = wait(database, lambda now: all(one["state"] in _OVER for one in now.values()), 900)
    autobatch("daemon", "stop", database=database)
    time.sleep(3)
    again = {s: n for i in range(1, submitted + 1) for s, n in probed(database, f"s{i}").items() if n > 1}
    return {
        "kills": dict(killed),
        "searches": submitted,
        "states": dict(Counter(one["state"] for one in ended.values())),
        "probed_again": again,
        "left_over": left_over(database),
    }


def main() -> None:
    """Run both parts and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--searches", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report: dict[str, Any] = {"machine": platform.platform(), "cores": os.cpu_count()}
    with TemporaryDirectory() as folder:
        report["scenario"] = scenario(Path(folder))
        print("three searches:", json.dumps(report["scenario"]), flush=True)
    with TemporaryDirectory() as folder:
        report["kills"] = kills(Path(folder), options.kills, options.searches, options.seed)
        print("random kills:  ", json.dumps(report["kills"]))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
