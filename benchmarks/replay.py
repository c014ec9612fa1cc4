"""Replay searches over recorded surfaces: `python -m benchmarks.replay --surfaces DIR --cases FILE`.

The same engine and samplers as live, behind the same seam. The generic samplers get as many probe seconds as the
structured sampler took in the same case and seed (a probe that began in time may end late), or, as in `gp@12`, that
many probes; the rules of other tools and `grid` run to their end. With `--after MODEL ...` each structured search finds
ended searches over those other models in its database.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna.storages import BaseStorage, InMemoryStorage

from autobatch.search.engine import Search
from autobatch.search.seams import StopSearch
from autobatch.settings import Configuration
from benchmarks import arguments
from benchmarks.replay_machine import Slowness, slowed
from benchmarks.replay_prior import Shapes, shapes_of
from benchmarks.replay_record import HEADER, Record, case_line, line
from benchmarks.replay_rules import RULES, follow
from benchmarks.replay_surfaces import Case, Replay, Surface, read_cases, read_surfaces

STRUCTURED = "structured"
GENERIC = ("random", "tpe", "gp")
SLOW = "gp"
PROBES = (12, 25)
BY_PROBES = tuple(f"{name}@{probes}" for probes in PROBES for name in GENERIC)
STRATEGIES = (STRUCTURED, *GENERIC, *BY_PROBES, "grid", *RULES)
UNHURRIED_S = 1e6
MACHINE = {"device": "cuda:0", "gpus": [{"index": 0, "name": "as recorded"}]}
SLOWNESS = ("LAUNCHES", "DEVICE")
Replayed = tuple[Surface, Case]


@dataclass(frozen=True)
class Outcome:
    """What one replayed search chose, and what it cost of our own time."""

    chosen: Configuration | None
    cpu_s: float


def search(replay: Replay, strategy: str, shapes: Shapes, budget_s: float, storage: BaseStorage) -> Outcome:
    """Run one strategy over a case."""
    started = time.process_time()
    rule = RULES.get(strategy)
    chosen = follow(rule, replay) if rule else _engine(replay, strategy, shapes, budget_s, storage)
    return Outcome(chosen, time.process_time() - started)


def _engine(
    replay: Replay, strategy: str, shapes: Shapes, budget_s: float, storage: BaseStorage
) -> Configuration | None:
    sampler, _, probes = strategy.partition("@")

    def gate() -> None:
        if replay.probes >= int(probes) if probes else replay.now_s >= budget_s:
            raise StopSearch

    result = Search(
        workload=shapes.workload,
        space=replay.space,
        runner=replay,
        storage=storage,
        limits=replay.limits,
        study_name=replay.case.model,
        sampler_name=sampler,
        budget_s=UNHURRIED_S,
        seed=replay.seed,
        clock=replay.clock,
        tie=0.0,
        candidates=replay.candidates,
        predict=shapes.predict,
        pace=shapes.pace,
        pace_for=shapes.pace_for,
        machine=MACHINE,
        gate=gate,
        confirmations=2 if strategy == STRUCTURED else 0,
    ).run()
    return result.chosen.configuration if result.chosen else None


def run_case(
    surface: Surface,
    case: Case,
    strategies: Sequence[str],
    *,
    seeds: int,
    seeds_slow: int,
    prior: bool,
    before: Sequence[Replayed] = (),
) -> list[Record]:
    """Run every strategy over every seed of one case, the slow ones over the first few; those `before` end first."""
    shapes = shapes_of(surface, case.effective_batch, with_prior=prior)
    first = Replay(surface, case, 0)
    records = {s: Record(case, s, first.optimum(), first.grid_seconds()) for s in strategies}
    for seed in range(seeds):
        budget_s = UNHURRIED_S
        for strategy in strategies:
            if strategy.startswith(SLOW) and seed >= seeds_slow:
                continue
            replay = Replay(surface, case, seed)
            storage = _after(before if strategy == STRUCTURED else (), seed, prior=prior)
            outcome = search(replay, strategy, shapes, budget_s if strategy in GENERIC else UNHURRIED_S, storage)
            records[strategy].note(replay, outcome.chosen, outcome.cpu_s)
            budget_s = replay.now_s if strategy == STRUCTURED else budget_s
    return list(records.values())


def _after(before: Sequence[Replayed], seed: int, *, prior: bool) -> BaseStorage:
    """Return a database in which those searches have ended."""
    storage = InMemoryStorage()
    for surface, case in before:
        shapes = shapes_of(surface, case.effective_batch, with_prior=prior)
        search(Replay(surface, case, seed), STRUCTURED, shapes, UNHURRIED_S, storage)
    return storage


def main(words: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = _parser()
    options = parser.parse_args(words)
    surfaces, cases = read_surfaces(options.surfaces), read_cases(options.cases)
    if missing := _unknown(surfaces, cases, options):
        parser.error(f"no recorded surface and case of: {', '.join(missing)}.")
    here, there = Slowness(*options.slower), Slowness(*(options.after_slower or options.slower))
    wanted = [s for s in STRATEGIES if s in options.strategies]
    records: list[Record] = []
    for case in cases:
        if options.models and case.model not in options.models:
            continue
        counts = {"seeds": options.seeds, "seeds_slow": options.seeds_slow}
        others = [_alike(cases, model, case) for model in options.after if model != case.model]
        before = [(slowed(surfaces[other.model], there), other) for other in others]
        surface = slowed(surfaces[case.model], here)
        done = run_case(surface, case, wanted, **counts, prior=not options.no_prior, before=before)
        records += done
        for record in done:
            print(case_line(record), flush=True)
    print(f"\n{HEADER}")
    for strategy in wanted:
        print(line(strategy, [record for record in records if record.strategy == strategy]))
    if options.json:
        options.json.write_text(json.dumps({"rows": [record.to_dict() for record in records]}))


def _unknown(surfaces: Mapping[str, Surface], cases: Sequence[Case], options: argparse.Namespace) -> list[str]:
    """Return the models that are asked for, each case's unless told, and cannot be replayed."""
    of_cases = {case.model for case in cases}
    wanted = {*(options.models or of_cases), *options.after}
    return sorted(wanted - (of_cases & surfaces.keys()))


def _alike(cases: Sequence[Case], model: str, case: Case) -> Case:
    """Return the case of another model on the same card, where there is one."""
    others = [other for other in cases if other.model == model]
    return next((other for other in others if other.card_gib == case.card_gib), others[0])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--surfaces", type=arguments.surfaces, required=True, help="folder of recorded surfaces (CSV)")
    parser.add_argument("--cases", type=arguments.file, required=True, help="YAML file of cases")
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--seeds-slow", type=int, default=3, help="seeds of the GP, which takes seconds a search")
    parser.add_argument("--models", nargs="+", help="only the cases of these models")
    parser.add_argument("--no-prior", action="store_true", help="without the memory prior from shapes")
    parser.add_argument(
        "--after", nargs="+", metavar="MODEL", default=[], help="models searched before, each case's own not"
    )
    parser.add_argument(
        "--slower", nargs=2, type=float, metavar=SLOWNESS, default=(1, 1), help="emulate another machine"
    )
    parser.add_argument(
        "--after-slower", nargs=2, type=float, metavar=SLOWNESS, help="mislead: --after ran on this machine"
    )
    parser.add_argument("--json", type=arguments.output, help="write the rows to this file")
    return parser


if __name__ == "__main__":
    main()
