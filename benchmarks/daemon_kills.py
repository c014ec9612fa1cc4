"""Random kills under a queue of short searches: of the daemon, of workers, of preloaded parents and of probes."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

from autobatch.daemon import presence
from autobatch.daemon.standing import status
from autobatch.isolation import proc
from benchmarks.daemon_queue import (
    OVER,
    autobatch,
    kill_daemon,
    probed,
    put_back,
    searches,
    submit,
    wait,
    with_result,
)
from benchmarks.scratch import left_over

_WEIGHT = 10
"""The daemon is killed this much more often than any one of the others."""


def kills(folder: Path, count: int, seed: int, *, only_daemon: bool) -> dict[str, Any]:
    """Kill at random, the queue kept filled, until `count` kills are done; then let it come to its end."""
    database, rng = folder / "trials.db", random.Random(seed)
    killed: Counter[str] = Counter()
    submitted, began = 0, time.monotonic()
    while killed.total() < count:
        if submitted == 0 or sum(one["state"] not in OVER for one in _now(database)) < 2:
            submitted += 1
            submit(database, submitted, "8,16")
        time.sleep(rng.uniform(0.2, 3.0))
        if victims := [one for one in _victims(database) if one[0] == "daemon" or not only_daemon]:
            killed[_kill(database, *rng.choice(victims))] += 1
    names = [f"s{number}" for number in range(1, submitted + 1)]
    ended = wait(database, lambda now: all(one["state"] in OVER for one in now.values()), 900)
    autobatch("daemon", "stop", database=database)
    time.sleep(3)
    found = {f"{name} {what}": kinds for name in names for what, kinds in probed(database, name).items()}
    return {
        "kills": dict(killed),
        "searches": submitted,
        "states": dict(Counter(one["state"] for one in ended.values())),
        "with_an_answer": sum(one["samples_per_s"] is not None for one in ended.values()),
        "failed": [one["reason"] for one in ended.values() if one["state"] != "done"],
        "starts": sum(one["starts"] for one in ended.values()),
        "found_without_process": dict(put_back(database)),
        "probes": sum(map(len, found.values())),
        "probes_with_result": sum(map(with_result, found.values())),
        "probed_again": {what: kinds for what, kinds in found.items() if with_result(kinds) > 1},
        "still_in_the_queue": len([one for one in searches(database).values() if one["state"] not in OVER]),
        "left_over": left_over(folder),
        "took_s": round(time.monotonic() - began),
    }


def _now(database: Path) -> list[dict[str, Any]]:
    return list(status(database)["searches"])


def _victims(database: Path) -> list[tuple[str, int]]:
    """Return what may be killed now."""
    found: list[tuple[str, int]] = []
    daemon = presence.find(database)
    if daemon is not None and (pid := daemon.pid) is not None:
        found += [("daemon", pid)] * _WEIGHT
    for one in _now(database):
        if one["worker"] is not None:
            parents = proc.children(one["worker"])
            found.append(("worker", one["worker"]))
            found += [("preloaded parent", pid) for pid in parents]
            found += [("probe", pid) for parent in parents for pid in proc.children(parent)]
    return found


def _kill(database: Path, name: str, pid: int) -> str:
    if name == "daemon":
        kill_daemon(database)
    else:
        proc.kill([pid])
    return name
