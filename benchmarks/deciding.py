"""What a decision of the structured sampler takes, by the trials that it has to learn from.

    python -m benchmarks.deciding [--trials 3 10 30 100 300] [--decisions 9] [--seed 0] [--json FILE]

Trials are drawn at random from 320 configurations in 32 arms of a made-up model, so that nearly every arm has been
measured, which no search by this sampler comes to. Every decision has one trial more than the one before.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from autobatch.request import NullJournal, Plan
from autobatch.search.facts import Fact
from autobatch.search.structured import StructuredSampler
from autobatch.settings import CHECKPOINTING, METHOD, OPTIM, PRECISION, QUANTIZATION, Scalar, divisors
from benchmarks.common import Record
from benchmarks.replay_surfaces import GIB, Case, Replay, Row, Surface

EFFECTIVE_BATCH, CARD_GIB = 48, 24
FORMATS = {"bf16": (1.0, 1.0), "fp16": (1.0, 1.0), "tf32": (1.5, 1.5), "fp32": (1.5, 3.0)}
"""Memory and time of a sample, relative to bf16."""
OPTIMIZERS = {"adamw_torch_fused": 0.01, "adamw_8bit": 0.03, "paged_adamw_8bit": 0.04, "adafactor": 0.07}
"""Seconds of their step."""
FIXED_GIB, SAMPLE_GIB, FLOOR_S, SAMPLE_S = 3.0, 1.0, 0.06, 0.004
CHECKPOINTS = {False: (1.0, 1.0), True: (0.3, 1.35)}


def rows() -> Iterator[Row]:
    """Yield every configuration of the model."""
    arms = itertools.product(FORMATS, CHECKPOINTS, OPTIMIZERS)
    for (form, again, optim), batch in itertools.product(arms, divisors(EFFECTIVE_BATCH)):
        (wider, slower), (kept, repeated) = FORMATS[form], CHECKPOINTS[again]
        arm: dict[str, Scalar] = {
            METHOD: "full",
            QUANTIZATION: "none",
            PRECISION: form,
            CHECKPOINTING: again,
            OPTIM: optim,
        }
        yield Row(
            arm,
            batch,
            micro_step_s=repeated * max(FLOOR_S, 0.1 * FLOOR_S + SAMPLE_S * slower * batch),
            optimizer_step_s=OPTIMIZERS[optim],
            first_steps_s=1.0,
            start_s=1.0,
            used_bytes=round((FIXED_GIB + SAMPLE_GIB * wider * kept * batch) * GIB),
        )


def facts_of(replay: Replay, count: int) -> list[Fact]:
    """Return the facts of so many trials, drawn at random."""
    drawn = random.Random(replay.seed).sample(replay.candidates, count)
    plan, journal = Plan("probe", 60.0), NullJournal()
    return [Fact(n, one, "search", "probe", replay.run(one, plan, journal)) for n, one in enumerate(drawn)]


def decisions(replay: Replay, facts: Sequence[Fact], count: int) -> dict[str, list[float]]:
    """Return wall clock and CPU seconds of the last so many decisions, the latest with all facts but one."""
    sampler = StructuredSampler(replay.space, replay.candidates, replay.limits, seed=replay.seed)
    walls, cpus = [], []
    for known in range(max(1, len(facts) - count), len(facts)):
        began, cpu = time.perf_counter(), time.process_time()
        sampler.decide(facts[:known])
        walls.append(time.perf_counter() - began)
        cpus.append(time.process_time() - cpu)
    return {"wall_s": walls, "cpu_s": cpus}


def main() -> int:
    """Measure and print the table."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--trials", type=int, nargs="+", default=[3, 10, 30, 100, 300])
    made.add_argument("--decisions", type=int, default=9, help="timed of each")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--json", type=Path)
    options = made.parse_args()
    surface = Surface("made-up", 512, 128, tuple(rows()))
    record, found = Record(options.json, "benchmarks.deciding"), {}
    for trials in options.trials:
        replay = Replay(surface, Case("made-up", CARD_GIB, EFFECTIVE_BATCH), options.seed)
        found[trials] = decisions(replay, facts_of(replay, trials + 1), options.decisions)
        record.keep(seed=options.seed, decisions=found)
    print(f"{'trials':>6} {'median ms':>10} {'shortest':>9} {'longest':>9} {'CPU ms':>8}")
    for trials, seconds in found.items():
        wall = [1000 * value for value in seconds["wall_s"]]
        cpu = 1000 * statistics.median(seconds["cpu_s"])
        print(f"{trials:6} {statistics.median(wall):10.1f} {min(wall):9.1f} {max(wall):9.1f} {cpu:8.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
