"""The rest of a grid: what ran out of memory on a smaller card, measured on a larger one.

A configuration that fits takes its time whatever the card's limit is, so that the grid of a larger card is that of the
smaller one, and what did not fit there. The fastest of the smaller card is measured once more before the rest: what is
far slower is cut short as in any grid, and both are measured on one host.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autobatch.job.request import Job
from autobatch.job.run import run
from autobatch.review.live import View
from autobatch.search.first_stage import HOPELESS_SHARE
from autobatch.settings import Configuration
from autobatch.verdict import Kind

Trial = Mapping[str, Any]
ENDED, CUT_SHORT = str(Kind.OK), str(Kind.HOPELESS)
RAN = (ENDED, CUT_SHORT)


def rest_of(trials: Iterable[Trial]) -> list[dict[str, Any]]:
    """Return the settings that a larger card is to be asked for: the fastest, then whatever did not fit."""
    probes = probes_of(trials)
    return [fastest(probes)["settings"], *(trial["settings"] for trial in probes if trial["verdict"] not in RAN)]


def shares_of(rest: Sequence[dict[str, Any]], count: int) -> list[list[dict[str, Any]]]:
    """Return a rest in so many shares; each begins with the fastest, which cuts short what is far slower."""
    again, *others = rest
    return [[again, *others[share::count]] for share in range(count)]


def taken_over(trials: Iterable[Trial]) -> list[Trial]:
    """Return the probes that a larger card need not make again."""
    return [trial for trial in probes_of(trials) if trial["verdict"] in RAN]


def one_after_another_s(parts: Iterable[Sequence[Trial]]) -> float:
    """Return the seconds of a grid's parts as one command would take that goes from part to part.

    By itself a part runs probes to their end that would be cut short beside the fastest of the parts before: they count
    as the part's shortest that was cut short.
    """
    seconds, best = 0.0, 0.0
    for part in map(probes_of, parts):
        shortest = min((trial["probe_s"] for trial in part if trial["verdict"] == CUT_SHORT), default=0.0)
        seconds += sum(min(shortest, t["probe_s"]) if _too_slow(t, best) else t["probe_s"] for t in part)
        best = max([best, *(trial["samples_per_s"] for trial in part if trial["verdict"] == ENDED)])
    return seconds


def _too_slow(trial: Trial, best: float) -> bool:
    return bool(trial["verdict"] == ENDED and trial["samples_per_s"] < HOPELESS_SHARE * best)


def probes_of(trials: Iterable[Trial]) -> list[Trial]:
    """Return those of the grid itself: not what came after."""
    return [trial for trial in trials if trial["stage"] == "search"]


def fastest(probes: Iterable[Trial]) -> Trial:
    """Return the fastest that ran to its end."""
    ran = (trial for trial in probes if trial["verdict"] == ENDED)
    return max(ran, key=lambda trial: float(trial["samples_per_s"]))


def main() -> int:
    """Search a grid of given configurations: job and settings are read from a JSON file; print the answer."""
    asked = json.loads(Path(sys.argv[1]).read_text())
    candidates = [Configuration(settings) for settings in asked["settings"]]
    answer = run(Job.from_dict(asked["job"]), View(), candidates=candidates)
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
