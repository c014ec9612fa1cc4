"""Replay searches over recorded surfaces: `python -m benchmarks.replay --surfaces DIR --cases FILE`.

The same engine and samplers as live, behind the same seam. The generic samplers get as many probe seconds as the
structured sampler took in the same case and seed (a probe that began in time may end late), or, as in `gp@12`, that
many probes; the rules of other tools and `grid` run to their end.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from optuna.storages import InMemoryStorage

from autobatch.search.engine import Search
from autobatch.search.seams import StopSearch
from autobatch.settings import Configuration
from benchmarks.replay_prior import Shapes, shapes_of
from benchmarks.replay_rules import RULES, follow
from benchmarks.replay_surfaces import Case, Replay, Surface, read_cases, read_surfaces

STRUCTURED = "structured"
GENERIC = ("random", "tpe", "gp")
SLOW = "gp"
PROBES = (12, 25)
BY_PROBES = tuple(f"{name}@{probes}" for probes in PROBES for name in GENERIC)
STRATEGIES = (STRUCTURED, *GENERIC, *BY_PROBES, "grid", *RULES)
UNHURRIED_S = 1e6


@dataclass
class Record:
    """One case and strategy, lists by seed."""

    case: Case
    strategy: str
    optimum: float | None
    grid_seconds: float
    regret: list[float] = field(default_factory=list)
    probes: list[int] = field(default_factory=list)
    probe_seconds: list[float] = field(default_factory=list)
    oom_probes: list[int] = field(default_factory=list)
    unsafe: list[bool] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the row of the JSON file."""
        return {
            "model": self.case.model,
            "card_gib": self.case.card_gib,
            "effective_batch": self.case.effective_batch,
            "strategy": self.strategy,
            "optimum_samples_per_s": self.optimum,
            "grid_probe_seconds": self.grid_seconds,
            "regret": self.regret,
            "probes": self.probes,
            "probe_seconds": self.probe_seconds,
            "oom_probes": self.oom_probes,
            "unsafe": self.unsafe,
            "cpu_seconds": self.cpu_seconds,
        }


@dataclass(frozen=True)
class Outcome:
    """What one replayed search chose, and what it cost of our own time."""

    chosen: Configuration | None
    cpu_s: float


def search(replay: Replay, strategy: str, shapes: Shapes, budget_s: float) -> Outcome:
    """Run one strategy over a case."""
    started = time.process_time()
    rule = RULES.get(strategy)
    chosen = follow(rule, replay) if rule else _engine(replay, strategy, shapes, budget_s)
    return Outcome(chosen, time.process_time() - started)


def _engine(replay: Replay, strategy: str, shapes: Shapes, budget_s: float) -> Configuration | None:
    sampler, _, probes = strategy.partition("@")

    def gate() -> None:
        if replay.probes >= int(probes) if probes else replay.now_s >= budget_s:
            raise StopSearch

    result = Search(
        workload=shapes.workload,
        space=replay.space,
        runner=replay,
        storage=InMemoryStorage(),
        limits=replay.limits,
        sampler_name=sampler,
        budget_s=UNHURRIED_S,
        seed=replay.seed,
        clock=replay.clock,
        tie=0.0,
        candidates=replay.candidates,
        predict=shapes.predict,
        pace=shapes.pace,
        gate=gate,
        confirmations=2 if strategy == STRUCTURED else 0,
    ).run()
    return result.chosen.configuration if result.chosen else None


def run_case(
    surface: Surface, case: Case, strategies: Sequence[str], *, seeds: int, seeds_slow: int, prior: bool
) -> list[Record]:
    """Run every strategy over every seed of one case, the slow ones over the first few."""
    shapes = shapes_of(surface, case.effective_batch, with_prior=prior)
    first = Replay(surface, case, 0)
    records = {s: Record(case, s, first.optimum(), first.grid_seconds()) for s in strategies}
    for seed in range(seeds):
        budget_s = UNHURRIED_S
        for strategy in strategies:
            if strategy.startswith(SLOW) and seed >= seeds_slow:
                continue
            replay = Replay(surface, case, seed)
            outcome = search(replay, strategy, shapes, budget_s if strategy in GENERIC else UNHURRIED_S)
            _note(records[strategy], replay, outcome)
            budget_s = replay.now_s if strategy == STRUCTURED else budget_s
    return list(records.values())


def _note(record: Record, replay: Replay, outcome: Outcome) -> None:
    regret, unsafe = replay.judge(outcome.chosen)
    record.regret.append(regret)
    record.unsafe.append(unsafe)
    record.probes.append(replay.probes)
    record.probe_seconds.append(replay.now_s)
    record.oom_probes.append(replay.oom_probes)
    record.cpu_seconds.append(outcome.cpu_s)


def _each(records: Iterable[Record], name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([value for record in records for value in getattr(record, name)], dtype=float)


HEADER = "strategy                regret mean   p90  probes mean  p90   seconds  of grid    OOM  unsafe  CPU s"


def line(strategy: str, records: Sequence[Record]) -> str:
    """Return a strategy's row of the table: over all cases and seeds."""
    regret, probes, seconds = (_each(records, n) for n in ("regret", "probes", "probe_seconds"))
    grid = sum(record.grid_seconds * len(record.regret) for record in records)
    return (
        f"{strategy:<22} {regret.mean():10.2%} {np.percentile(regret, 90):7.1%} {probes.mean():9.1f} "
        f"{np.percentile(probes, 90):7.1f} {seconds.mean():9.1f} {seconds.sum() / grid:8.1%} "
        f"{_each(records, 'oom_probes').mean():6.1f} {int(_each(records, 'unsafe').sum()):6d} "
        f"{np.median(_each(records, 'cpu_seconds')):7.2f}"
    )


def case_line(record: Record) -> str:
    """Return one case's row: medians and 90th percentiles over the seeds."""
    case = record.case
    regret, probes, seconds = record.regret, record.probes, record.probe_seconds
    return (
        f"{case.model:<30} {case.card_gib:4.0f} GiB {case.effective_batch:4d} {record.strategy:<22} "
        f"regret {np.median(regret):6.2%} {np.percentile(regret, 90):6.1%}  "
        f"probes {np.median(probes):4.1f} {np.percentile(probes, 90):5.1f}  "
        f"seconds {np.median(seconds):6.1f} {np.percentile(seconds, 90):6.1f} of {record.grid_seconds:6.1f}  "
        f"OOM {np.mean(record.oom_probes):4.1f}  unsafe {sum(record.unsafe)}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    options = _parser().parse_args(arguments)
    surfaces, cases = read_surfaces(options.surfaces), read_cases(options.cases)
    wanted = [s for s in STRATEGIES if s in options.strategies]
    records: list[Record] = []
    for case in cases:
        if options.models and case.model not in options.models:
            continue
        counts = {"seeds": options.seeds, "seeds_slow": options.seeds_slow}
        done = run_case(surfaces[case.model], case, wanted, **counts, prior=not options.no_prior)
        records += done
        for record in done:
            print(case_line(record), flush=True)
    print(f"\n{HEADER}")
    for strategy in wanted:
        print(line(strategy, [record for record in records if record.strategy == strategy]))
    if options.json:
        options.json.write_text(json.dumps({"rows": [record.to_dict() for record in records]}))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--surfaces", type=Path, required=True, help="folder of recorded surfaces (CSV)")
    parser.add_argument("--cases", type=Path, required=True, help="YAML file of cases")
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--seeds-slow", type=int, default=3, help="seeds of the GP, which takes seconds a search")
    parser.add_argument("--models", nargs="+", help="only the cases of these models")
    parser.add_argument("--no-prior", action="store_true", help="without the memory prior from shapes")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    return parser


if __name__ == "__main__":
    main()
