"""What replayed searches chose and cost, as lines of text and rows of JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from autobatch.settings import Configuration
from benchmarks.replay_surfaces import Case, Replay


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

    def note(self, replay: Replay, chosen: Configuration | None, cpu_s: float) -> None:
        """Add what a replayed search chose, and what it cost."""
        regret, unsafe = replay.judge(chosen)
        self.regret.append(regret)
        self.unsafe.append(unsafe)
        self.probes.append(replay.probes)
        self.probe_seconds.append(replay.now_s)
        self.oom_probes.append(replay.oom_probes)
        self.cpu_seconds.append(cpu_s)

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
