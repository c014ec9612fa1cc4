"""What a padded length costs that comes for the first time: each micro-batch beside itself a little later.

    python -m benchmarks.new_lengths [--configs NAME ...] [--device cuda:0] [--timed S] [--seconds S] [--json FILE]

In one process, typical micro-batches come in blocks of twelve, each block twice. A micro-batch and its repetition are
the same but for what was new to the process the first time: the length of its source, of its target, both or neither.
The difference of the two is in the table, relative to a mean micro-step: mean of the pairs, the farthest twentieth at
either end drawn in, and half of its 95 % interval; in brackets the pairs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autobatch.intervals import student_975
from autobatch.probe.device import prepare_environment
from autobatch.probe.newness import first_seen
from autobatch.probe.order import Order
from autobatch.probe.outcome import Progress
from autobatch.probe.recorder import Recorder
from autobatch.probe.sampler import ProbeSampler
from autobatch.probe.session import Session, Stopwatch, open_session
from autobatch.probe.timing import Rule
from autobatch.probe.training import make_trainer
from autobatch.request import Limits, Plan, ProbeRequest
from autobatch.settings import Configuration
from benchmarks import fidelity, forks
from benchmarks.common import Deadline, Record, parser

BLOCK = 12
"""A multiple of the usual accumulations: both of a pair are at the same place in their optimizer steps."""
START_S = 30.0
"""To build and to warm up, at most."""
DRAWN_IN = 0.05
FEWEST_PAIRS = 4
KINDS = {"neither": (False, False), "source": (True, False), "target": (False, True), "both": (True, True)}


@dataclass
class Counting(Recorder):
    """A recorder that knows which micro-batch it timed first."""

    first: int = 0

    def begin_timing(self) -> None:
        """Leave out everything so far."""
        super().begin_timing()
        self.first = self._done


def doubled(order: Order) -> Order:
    """Return an order whose typical micro-batches come in blocks, each twice."""
    count, start = len(order.padded), order.typical_from
    places = list(range(start))
    for begin in range(start, count, BLOCK):
        places += [*range(begin, min(begin + BLOCK, count))] * 2
    return order.rearranged(places)


def prepared(session: Session, order: Order, timed_s: float) -> Session:
    """Return the session on another order, timing for so long and doing nothing else."""
    recorder, conductor = Counting(order.costs, order.expected_cost), session.conductor
    deadline = time.monotonic() + START_S + timed_s
    conductor.recorder, conductor.sampler = recorder, ProbeSampler(order)
    rule = Rule(0.0, timed_s, timed_s)
    conductor.parts = replace(
        conductor.parts, evaluates=False, repeats=False, warm_up=BLOCK, ends_longest=False, rule=rule, deadline=deadline
    )
    return replace(session, recorder=recorder)


def train(request: ProbeRequest, timed_s: float) -> None:
    """Train, and write the times and lengths of what was timed to a folder."""
    folder = Path(request.folder)
    prepare_environment(request)
    session = open_session(request, Progress(folder), Stopwatch())
    order = doubled(session.material.order)
    session = prepared(session, order, timed_s)
    make_trainer(session).train()
    session.meter.synchronize()
    session.recorder.estimate()  # which takes up what had not been read
    recorder = session.recorder
    first = recorder.first if isinstance(recorder, Counting) else 0
    found = {"first": first, "typical_from": order.typical_from, "seconds": recorder.micro_steps}
    (folder / "times.json").write_text(json.dumps({**found, "padded": order.padded}))


def differences(found: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return, by what was new, how much longer the first of a pair took than its repetition."""
    times, padded = np.array(found["seconds"]), np.array(found["padded"])
    new, first = first_seen(padded), int(found["first"])
    position = np.arange(len(padded)) - int(found["typical_from"])
    places = np.arange(first, first + len(times) - BLOCK)
    places = places[(position[places] >= 0) & (position[places] % (2 * BLOCK) < BLOCK)]
    longer = (times[places - first] - times[places - first + BLOCK]) / times.mean()
    kinds = {name: longer[(new[places] == kind).all(axis=1)] for name, kind in KINDS.items()}
    return {name: summary(values) for name, values in kinds.items() if len(values) >= FEWEST_PAIRS}


def summary(values: NDArray[np.float64]) -> dict[str, float]:
    """Return the mean of differences, half of its 95 % interval, and how many there are."""
    kept = np.clip(values, *np.quantile(values, [DRAWN_IN, 1 - DRAWN_IN]))
    error = student_975(len(kept) - 1) * float(kept.std(ddof=1)) / len(kept) ** 0.5
    return {"mean": float(kept.mean()), "half_width": error, "pairs": len(kept)}


def measure(name: str, device: str, timed_s: float) -> dict[str, Any]:
    """Return the row of a configuration; what goes wrong is in it."""
    preset, settings = fidelity.CONFIGS[name]
    configuration = Configuration({**settings, "dataloader_num_workers": 2})
    workload = fidelity.workload_of(preset, configuration, None, 200)
    with TemporaryDirectory() as folder:
        log = Path(folder, "log.txt")
        request = ProbeRequest(workload, configuration, Plan("confirm", 1e4), Limits(), device, folder)
        status = forks.in_fork(partial(train, request, timed_s), log, 2 * START_S + timed_s)
        if status != 0:
            return {"config": name, "error": "timed out" if status is None else forks.tail(log)}
        found = json.loads(Path(folder, "times.json").read_text())
    return {"config": name, "micro_step_s": float(np.mean(found["seconds"])), **differences(found)}


def line(row: Mapping[str, Any]) -> str:
    """Return a row of the table."""
    cells = [row.get(kind) for kind in KINDS]
    shown = (f"{c['mean']:+.1%} +/- {c['half_width']:.1%} ({c['pairs']})" if c else "-" for c in cells)
    seconds = f"{row['micro_step_s']:.4f}" if "micro_step_s" in row else "-"
    return f"{row['config']:30} {seconds:>8} " + " ".join(f"{cell:>22}" for cell in shown) + f" {row.get('error', '')}"


def main() -> int:
    """Measure every configuration and print the table; exit with 1 where one failed."""
    made = parser(__doc__, seconds=900.0)
    made.add_argument("--configs", nargs="*", default=list(fidelity.DEFAULT), choices=list(fidelity.CONFIGS))
    made.add_argument("--timed", type=float, default=45.0, help="seconds of each")
    options = made.parse_args()
    deadline, record, rows = Deadline(options.seconds), Record(options.json, "benchmarks.new_lengths"), []
    forks.import_once()
    print(f"{'configuration':30} {'s':>8} " + " ".join(f"{'new: ' + kind:>22}" for kind in KINDS))
    for name in options.configs:
        if deadline.allows(START_S + options.timed):
            rows.append(measure(name, options.device, options.timed))
            print(line(rows[-1]), flush=True)
            record.keep(rows=rows)
    return int(len(rows) < len(options.configs) or any("error" in row for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
