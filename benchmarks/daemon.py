"""The daemon under fire, and at rest.

    python -m benchmarks.daemon [--kills 200] [--daemon-kills 60] [--idle-s 60] [--json FILE]

Three searches with a pause, a cancellation and two deaths of the daemon; random kills under a queue of short searches;
what an idle daemon costs. Real probes of a tiny model on the CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.about import about
from benchmarks.daemon_idle import day, idle
from benchmarks.daemon_kills import kills
from benchmarks.daemon_queue import OVER, autobatch, kill_daemon, probed, submit, untrue, wait, with_result
from benchmarks.scratch import left_over, scratch

_TWO = "8,16"


def scenario(folder: Path) -> dict[str, Any]:
    """Three searches: one paused and resumed, one cancelled in its probe, the daemon killed twice on the way."""
    quiet, database = folder / "quiet.db", folder / "trials.db"
    submit(quiet, 1, _TWO)
    wait(quiet, lambda now: now[1]["state"] == "done", 400)
    autobatch("daemon", "stop", database=quiet)
    wrong: list[str] = []
    for number in (1, 2, 3):
        submit(database, number, _TWO)
        wrong += untrue(database)
    wait(database, lambda now: now[1]["trials"] > 0, 300)
    kill_daemon(database)
    wrong += untrue(database)
    autobatch("pause", "1", database=database)
    wait(database, lambda now: now[1]["state"] == "paused", 300)
    wrong += untrue(database)
    kill_daemon(database)
    wait(database, lambda now: now[2]["probing_since"] is not None, 300)
    autobatch("resume", "1", database=database)
    wrong += untrue(database)
    autobatch("cancel", "2", database=database)
    wait(database, lambda now: now[2]["state"] == "cancelled", 60)
    wrong += untrue(database)
    ended = wait(database, lambda now: all(one["state"] in OVER for one in now.values()), 600)
    autobatch("daemon", "stop", database=database)
    time.sleep(2)
    return {
        "states": {number: one["state"] for number, one in ended.items()},
        "same_trials_as_undisturbed": [s for s in ("s1", "s3") if _tried(database, s) == _tried(quiet, "s1")],
        "status_untrue": wrong,
        "left_over": left_over(folder),
    }


def _tried(database: Path, study: str) -> set[str]:
    found = probed(database, study)
    return {what.split()[1] for what, kinds in found.items() if what.startswith("probe") and with_result(kinds)}


def main() -> None:
    """Run all parts and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--daemon-kills", type=int, default=60)
    parser.add_argument("--idle-s", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report: dict[str, Any] = {**about("benchmarks.daemon")}
    parts: dict[str, Callable[[Path], dict[str, Any]]] = {
        "idle": lambda folder: idle(folder, options.idle_s),
        "day": day,
        "scenario": scenario,
        "kills of the daemon": lambda folder: kills(folder, options.daemon_kills, options.seed, only_daemon=True),
        "kills of anything": lambda folder: kills(folder, options.kills, options.seed, only_daemon=False),
    }
    for name, part in parts.items():
        with scratch() as folder:
            report[name] = {"load_average": round(os.getloadavg()[0], 2), **part(folder)}
        print(f"{name}: {json.dumps(report[name])}", flush=True)
        if options.json:
            options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
