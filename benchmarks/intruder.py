"""A search of the daemon's queue and a foreign process on its card: waits for it, and is not misled by it.

    python -m benchmarks.intruder [--model kobart] [--gpu-memory 24GiB] [--budget 90s] [--seconds 540] [--json FILE]

Needs one CUDA card. With a budget of 90 s, some six minutes on an H100. Each part runs on a fresh database:

held      A foreign process holds most of the card and computes. A search is queued; it must wait and say why. The
          process is killed after `--held-s`; the search must start, and come to an answer.
alone     The same search undisturbed: answer A.
arrives   The same search again. `--arrives-s` after its first probe began, in the midst of a probe, a foreign process
          comes, takes `--arrives-gib`, computes for `--stays-s`, and leaves: answer B. Which probes ran beside it,
          which were marked as disturbed, and what repeated them. With `--from-idle` the process is on the card from
          the beginning, idle, so that it is told by what it does alone.
compare   Where A and B are not the same configuration, both are measured alternately, `--rounds` times each, and the
          difference of their samples/s is held against 2 %.

Each search has the same budget: a share of the time, at most 90 s, unless it is given.
`--fix KEY=VALUE` holds settings, to keep the space small; without one, those of `FIXED` are held. JSON is written
after each part, and nothing that was started is left, whatever happens. Exit status 1: something is not as it should
be, in a line at the end.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autobatch.machine.gpus import list_gpus
from autobatch.units import GIB, parse_duration
from benchmarks.common import Deadline, Record, parser
from benchmarks.intruder_parts import alone, arrives, compared, held, search_options
from benchmarks.intruder_table import table, wrong
from benchmarks.scratch import scratch

SPARE_GIB = 8.0
"""Of the card, for the context and libraries of the one that holds it."""
LARGEST_BUDGET_S, LEAST_BUDGET_S = 90.0, 40.0
NOT_SEARCHING_S = 150.0
"""Of a whole run: starts, stays of the foreign processes, both answers side by side, the end of what was started."""


def command() -> argparse.ArgumentParser:
    """Return the command line."""
    made = parser(__doc__, seconds=540.0)
    made.add_argument("--parts", nargs="+", default=["held", "alone", "arrives"], choices=["held", "alone", "arrives"])
    made.add_argument("--model", default="kobart")
    made.add_argument("--gpu-memory", default="24GiB", help="as of `autobatch search`; empty: the whole card")
    made.add_argument("--budget", type=parse_duration, help="of each search, such as 90s; else a share of the time")
    made.add_argument("--fix", action="append", metavar="KEY=VALUE", help="as of `autobatch search`; repeatable")
    made.add_argument("--held-s", type=float, default=20.0)
    made.add_argument("--held-gib", type=float, help="all but 8 GiB of the card, unless given")
    made.add_argument("--arrives-s", type=float, default=5.0)
    made.add_argument("--arrives-gib", type=float, default=4.0)
    made.add_argument("--stays-s", type=float, default=15.0)
    made.add_argument("--from-idle", action="store_true")
    made.add_argument("--rounds", type=int, default=2)
    return made


def budget_s(seconds: float) -> float:
    """Return the budget of each search of a run that has so long."""
    return min(LARGEST_BUDGET_S, max(LEAST_BUDGET_S, (seconds - NOT_SEARCHING_S) / 3))


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run the parts; what goes wrong in one is in its `error`, and the others run all the same."""
    deadline, record = Deadline(options.seconds), Record(options.json, "benchmarks.intruder")
    report: dict[str, Any] = {"search": search_options(options)}
    parts: dict[str, Callable[[Path], dict[str, Any]]] = {
        "held": lambda folder: held(folder, options, deadline),
        "alone": lambda folder: alone(folder, options, deadline),
        "arrives": lambda folder: arrives(folder, options, deadline),
        "compare": lambda folder: compared(folder, options, report, deadline),
    }
    chosen = [*options.parts, *(["compare"] if {"alone", "arrives"} <= {*options.parts} else [])]
    for name in chosen:
        began = time.monotonic()
        with scratch() as folder:
            try:
                report[name] = parts[name](folder)
            except Exception as error:  # noqa: BLE001 - what the other parts tell is not to be lost
                report[name] = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        report[name]["took_s"] = round(time.monotonic() - began, 1)
        print(f"{name}: {report[name].get('error') or 'ran'}, {report[name]['took_s']} s", file=sys.stderr, flush=True)
        record.keep(**report)
    return report


def main() -> int:
    """Run the parts and print the table."""
    options = command().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    cards = list_gpus()
    if not cards:
        print(
            "There is no GPU here.\n  -> This benchmark needs one: `autobatch doctor` says why none is seen.",
            file=sys.stderr,
        )
        return 3
    if options.held_gib is None:
        options.held_gib = round(cards[0].total_bytes / GIB - SPARE_GIB, 1)
    options.budget = options.budget or budget_s(options.seconds)
    report = run(options)
    print("\n".join([*table(report), *wrong(report)]))
    return 1 if wrong(report) else 0


if __name__ == "__main__":
    raise SystemExit(main())
