"""The pieces of work of `benchmarks.grid`, and what a case came to."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from autobatch.settings import Configuration
from autobatch.units import parse_bytes
from benchmarks.grid_rest import Trial, one_after_another_s, probes_of, taken_over
from benchmarks.side_by_side import TOLERANCE

REST = "rest"
"""The part of a larger card's grid that did not fit on a smaller one."""
GRID_SHARE = 0.1
"""Of the grid's seconds: what a search may take."""
HEADER = (
    f"{'case':36} {'probes':>7} {'grid':>6} {'search s':>8} {'grid s':>8} {'share':>7} {'samples/s':>10} {'grid':>10} "
    f"{'difference':>9}"
)


@dataclass
class Piece:
    """One command of `autobatch search`: a case's search, or a part of its grid."""

    case: str
    request: dict[str, Any]
    """Of the job: as `autobatch.job.request.Job` has it."""
    part: str = ""
    """`KEY=V,V` of a part of the grid, one after the other, or `REST` and which share of it; empty: the search."""
    wall_s: float = 0.0
    answer: dict[str, Any] = field(default_factory=dict)
    trials: list[dict[str, Any]] = field(default_factory=list)
    settings: list[dict[str, Any]] = field(default_factory=list)
    """Of a rest: what it is asked for."""

    @property
    def model(self) -> str:
        """Of the case."""
        return str(self.request["model"])

    @property
    def is_rest(self) -> bool:
        """Whether it is of what did not fit on a smaller card."""
        return self.part.startswith(REST)

    @property
    def name(self) -> str:
        """Its name in a file's."""
        return "-".join((self.case.replace(":", "-"), re.sub("[=, /]", "-", self.part) or "search"))

    @property
    def options(self) -> list[str]:
        """Options of `autobatch search`."""
        asked = self.request
        sizes = ["--gpu-memory", str(asked["gpu_memory_bytes"])] if asked["gpu_memory_bytes"] else []
        settings = [word for kind in ("fix", "search") for one in asked[kind] for word in (f"--{kind}", one)]
        return ["--model", asked["model"], "--sampler", asked["sampler"], *sizes, *settings]

    def take_up(self, kept: Sequence[Mapping[str, Any]]) -> None:
        """Take over what the same piece came to in another run, where that was complete."""
        same = json.loads(json.dumps([self.case, self.part, self.request]))
        for one in kept:
            if [one["case"], one["part"], one["request"]] == same:
                before = Piece(**one)
                if before.complete:
                    self.wall_s, self.answer = before.wall_s, before.answer
                    self.trials, self.settings = before.trials, before.settings

    @property
    def own_trials(self) -> list[dict[str, Any]]:
        """Its trials; of a rest those of the rest alone, as the fastest of the smaller card is counted there."""
        again = [Configuration(settings) for settings in self.settings[:1]]
        return [trial for trial in self.trials if not again or Configuration(trial["settings"]) not in again]

    @property
    def later_s(self) -> float:
        """Seconds of what came after: tuning, confirmation and comparison."""
        return float(sum(trial["probe_s"] for trial in self.trials if trial["stage"] != "search"))

    @property
    def chosen(self) -> dict[str, Any] | None:
        """What it chose, with its measurements."""
        return self.answer.get("chosen")

    @property
    def samples_per_s(self) -> float:
        """Of what it chose, confirmed; 0 where it chose nothing."""
        return float(self.chosen["measurements"]["samples_per_s"]) if self.chosen else 0.0

    @property
    def complete(self) -> bool:
        """Whether it ended by itself; a part of a grid may be one in which nothing fits."""
        if not self.answer or "error" in self.answer or (self.chosen is None and not self.part):
            return False
        return not self.answer["interrupted"] and "budget" not in self.answer["stopped"]


def pieces_of(case: str, options: argparse.Namespace) -> list[Piece]:
    """Return the search of a case, then the parts of its grid."""
    model, _, card = case.partition(":")
    common = {"model": model, "gpu_memory_bytes": parse_bytes(card) if card else None}
    fixed = tuple(options.fix)
    whole = tuple(one.replace("/", ",") for one in options.split)
    search = {**common, "search": whole, "sampler": "structured", "fix": fixed}

    def part(of: Sequence[str]) -> Piece:
        several = tuple(one for one in of if "," in one)
        alone = tuple(one for one in of if "," not in one)
        asked = {"search": several, "fix": (*fixed, *alone)}
        return Piece(case, {**common, "sampler": "grid", **asked}, " ".join(of))

    return [Piece(case, search), *map(part, product(*map(_shares, options.split)))]


def _shares(split: str) -> list[str]:
    key, _, values = split.partition("=")
    return [f"{key}={share}" for share in values.split("/")]


def cases_of(options: argparse.Namespace) -> list[list[Piece]]:
    """Return the pieces of all cases; where cases share grids, a model's after its first are a search and its rest."""
    cases: list[list[Piece]] = []
    for case in options.case:
        search, *grid = pieces_of(case, options)
        known = any(pieces[0].model == search.model for pieces in cases)
        shares = _rests(search, options.rests) if options.shared and known else grid
        cases.append([search, *shares])
    return cases


def _rests(search: Piece, count: int) -> list[Piece]:
    names = [REST] if count == 1 else [f"{REST} {share + 1}/{count}" for share in range(count)]
    return [Piece(search.case, {**search.request, "sampler": "grid"}, name) for name in names]


def trials_of(grid: Sequence[Piece]) -> list[dict[str, Any]]:
    """Return the trials of all parts."""
    return [trial for part in grid for trial in part.trials]


def best_of(grid: Sequence[Piece]) -> Piece:
    """Return the part of a grid that found the fastest, confirmed."""
    return max(grid, key=lambda part: part.samples_per_s)


def row_of(
    search: Piece, grid: Sequence[Piece], compared: dict[str, Any] | None, smaller: Sequence[Piece] = ()
) -> dict[str, Any]:
    """Return what a case came to, as far as its pieces ran.

    Args:
        search: of the case.
        grid: its parts.
        compared: the two choices.
        smaller: parts of the smaller card's grid, where this one is the rest of it.

    """
    imports_s = search.wall_s - search.answer.get("probe_seconds", 0.0)
    below = [taken_over(part.trials) for part in smaller]
    parts: list[Sequence[Trial]] = [*below, *(part.own_trials for part in grid)]
    grid_s = one_after_another_s(parts) + best_of(grid).later_s
    return {
        "case": search.case,
        "search": _told(search),
        "grid": _told(best_of(grid)),
        "parts": [{"part": part.part, "wall_s": part.wall_s, "complete": part.complete} for part in grid],
        "grid_probes": sum(len(probes_of(part)) for part in parts),
        "taken_over": sum(map(len, below)),
        "grid_s": imports_s + grid_s,
        "share_of_grid": search.wall_s / (imports_s + grid_s) if grid_s else None,
        "later_s": {"search": search.later_s, "grid": best_of(grid).later_s},
        "compared": compared or {},
    }


def _told(piece: Piece) -> dict[str, Any]:
    answer = piece.answer
    return {
        "wall_s": piece.wall_s,
        "probe_s": answer.get("probe_seconds"),
        "probes": answer.get("probes"),
        "stopped": answer.get("error") or answer.get("stopped"),
        "failures": answer.get("failures"),
        "samples_per_s": piece.samples_per_s,
        "chosen": (piece.chosen or {}).get("configuration"),
    }


def ok(row: dict[str, Any]) -> bool:
    """Tell whether a case is as it should be: a choice as good as the grid's, for a tenth of its time."""
    whole = all(part["complete"] for part in row["parts"])
    difference = row["compared"].get("rel_difference")
    return whole and row["share_of_grid"] <= GRID_SHARE and difference is not None and difference >= -TOLERANCE


def line(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    search, grid = row["search"], row["grid"]
    difference = row["compared"].get("rel_difference")
    share = row["share_of_grid"]
    figures = f"{search['wall_s']:8.0f} {row['grid_s']:8.0f} {'-' if share is None else f'{share:.1%}':>7}"
    speed = f"{search['samples_per_s']:10.2f} {grid['samples_per_s']:10.2f}"
    half_width = row["compared"].get("half_width")
    behind = "-" if difference is None else f"{difference:+.1%}"
    behind += "" if half_width is None else f" +/- {half_width:.1%}"
    probes = f"{search['probes'] or 0:7} {row['grid_probes']:6}"
    whole = "" if all(part["complete"] for part in row["parts"]) else " the grid is not complete"
    return f"{row['case']:36} {probes} {figures} {speed} {behind:>9}{whole}"
