"""The parts of `benchmarks.intruder`: each runs one search of the daemon's queue, on a fresh database."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from autobatch.job.request import Job
from benchmarks.common import Deadline
from benchmarks.intruder_load import Intruder
from benchmarks.intruder_search import (
    Watched,
    daemon,
    disturbed,
    during,
    is_over,
    is_waiting,
    item,
    outcome,
    probes,
    queue,
)
from benchmarks.side_by_side import compare

FIXED = (
    "precision=bf16",
    "gradient_checkpointing=false",
    "dataloader_num_workers=0",
    "per_device_eval_batch_size=8",
)
WAIT_S = 120.0
"""A search starts its libraries first, 12 to 25 s on a host with many cores."""
END_S = 180.0
"""Beyond its budget: start, a last probe, the confirmation under way."""
_IN_A_PROBE_S = 0.3
"""The intruder needs about a second for its context: it comes early in a probe, so as to meet it."""


def search_options(options: argparse.Namespace) -> list[str]:
    """Return the options of `autobatch search` that all parts have."""
    fixed = [word for one in options.fix or FIXED for word in ("--fix", one)]
    card = ["--gpu-memory", options.gpu_memory] if options.gpu_memory else []
    return ["--model", options.model, "--device", options.device, *card, "--budget", f"{options.budget:.0f}s", *fixed]


def held(folder: Path, options: argparse.Namespace, deadline: Deadline) -> dict[str, Any]:
    """Queue a search while a foreign process holds the card, and kill that."""
    database, longest_s = folder / "trials.db", 2 * WAIT_S + options.held_s
    with Intruder(options.device, options.held_gib, folder / "intruder.log", longest_s) as intruder, daemon(database):
        intruder.wait_until_ready()
        intruder.enter()
        queue(database, search_options(options))
        watched = Watched(database, deadline)
        first = watched.wait(is_waiting, WAIT_S, "waiting for the card")
        waited = watched.stay(options.held_s)
        gone = intruder.kill()
        watched.wait(lambda one: bool(one["probing_since"] or one["trials"]), WAIT_S, "a first probe")
        watched.wait(is_over, options.budget + END_S, "the end")
    rows = probes(database)
    return {
        "intruder": {"pid": intruder.pid, "gib": options.held_gib},
        "waited_for": first["reason"],
        "looks": len(waited),
        "looks_waiting": sum(map(is_waiting, waited)),
        "probes_before_it_ended": sum(row["begun_at"] < gone for row in rows),
        "waited_s": options.held_s,
        "first_probe_after_s": round(rows[0]["begun_at"] - gone, 1),
        "states": watched.changes,
        **outcome(database),
    }


def alone(folder: Path, options: argparse.Namespace, deadline: Deadline) -> dict[str, Any]:
    """Search with the card to itself."""
    database = folder / "trials.db"
    with daemon(database):
        queue(database, search_options(options))
        watched = Watched(database, deadline)
        watched.wait(is_over, WAIT_S + options.budget + END_S, "the end")
    rows = disturbed(probes(database))
    return {"disturbed": rows, "states": watched.changes, "job": dict(item(database).job), **outcome(database)}


def arrives(folder: Path, options: argparse.Namespace, deadline: Deadline) -> dict[str, Any]:
    """Search while a foreign process comes and goes."""
    database, log, longest_s = folder / "trials.db", folder / "intruder.log", 2 * options.stays_s + 60
    with (
        Intruder(options.device, options.arrives_gib, log, longest_s, seated=options.from_idle) as intruder,
        daemon(database),
    ):
        # its imports would disturb the search by themselves
        intruder.wait_until_ready()
        queue(database, search_options(options))
        watched = Watched(database, deadline)
        watched.wait(lambda one: bool(one["probing_since"]), WAIT_S, "a first probe")
        watched.stay(options.arrives_s)
        watched.wait(_is_in_a_probe, WAIT_S, "a probe for the intruder to meet")
        came = intruder.enter()
        watched.stay(options.stays_s)
        left = time.time()
        intruder.leave()
        watched.wait(is_over, options.budget + END_S, "the end")
    rows = probes(database)
    return {
        "intruder": {"pid": intruder.pid, "gib": options.arrives_gib, "from_idle": options.from_idle},
        "stayed_s": round(left - came, 1),
        "beside_it": during(rows, came, left),
        "disturbed": disturbed(rows),
        "states": watched.changes,
        **outcome(database),
    }


def _is_in_a_probe(one: dict[str, Any]) -> bool:
    return bool(one["probing_since"]) and time.time() - one["probing_since"] > _IN_A_PROBE_S


def compared(folder: Path, options: argparse.Namespace, report: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
    """Compare the answers of the search alone and of the one that was disturbed."""
    answers = {"A": report["alone"].get("chosen"), "B": report["arrives"].get("chosen")}
    if None in answers.values():
        message = "there are not two answers to compare"
        raise RuntimeError(message)
    return compare(Job.from_dict(report["alone"]["job"]), answers, options.rounds, folder, deadline)
