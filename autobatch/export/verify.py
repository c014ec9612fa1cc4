"""Runs a frozen configuration again for a few minutes, and holds the figures against its promise."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import Any

from autobatch.export.frozen import Frozen
from autobatch.isolation.runner import ENTRY, ProbeRunner
from autobatch.machine import fingerprint
from autobatch.machine.gpus import open_device
from autobatch.probe import script_command
from autobatch.request import NullJournal, Plan, Runner
from autobatch.review import words
from autobatch.store.lock import GpuLock, identity_of
from autobatch.units import format_bytes
from autobatch.verdict import Measurements, Verdict

TIME_BAND = 0.05
LAUNCH_BAND = 0.15
"""The same where launches bind a step: there processes of one configuration differ by 9-14 % (an H100's host)."""
MEMORY_BAND = 0.05


@dataclass(frozen=True)
class Comparison:
    """One figure as promised and as measured now."""

    name: str
    promised: float
    now: float
    band: float
    """Share by which it may be worse."""

    @property
    def change(self) -> float:
        """Relative change; positive is worse."""
        return self.now / self.promised - 1

    @property
    def holds(self) -> bool:
        """Whether it is no worse than the band allows."""
        return self.change <= self.band


@dataclass(frozen=True)
class Verification:
    """What came of running a frozen configuration again."""

    verdict: Verdict
    comparisons: tuple[Comparison, ...]

    @property
    def holds(self) -> bool:
        """Whether it ran, within the bands."""
        return self.verdict.ok and all(comparison.holds for comparison in self.comparisons)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        figures = {c.name: {"promised": c.promised, "now": c.now, "change": c.change} for c in self.comparisons}
        return {"holds": self.holds, "verdict": self.verdict.to_dict(), "figures": figures}


def verify(frozen: Frozen, seconds: float, device: str | None = None) -> Verification:
    """Run it again in a process of its own, as a confirmation does.

    Args:
        frozen: the file; the configuration as frozen is run, not what was edited since.
        seconds: deadline.
        device: None: the one it was frozen on.

    Raises:
        MachineError: the device is not there, or a search is at work on it.

    """
    chosen = frozen.chosen
    where = device or chosen.device
    gpu = fingerprint.read(where).gpu
    card = open_device(gpu.uuid) if gpu else None
    with (
        GpuLock(identity_of(gpu)) as lock,
        tempfile.TemporaryDirectory(prefix="autobatch-") as folder,
        ProbeRunner(
            chosen.workload,
            device=where,
            limits=chosen.limits,
            work_dir=folder,
            gpu=card,
            entry=script_command.ENTRY if chosen.workload.script else ENTRY,
            keep_open=(lock.fileno(),),
        ) as runner,
    ):
        return run(frozen, runner, seconds)


def run(frozen: Frozen, runner: Runner, seconds: float) -> Verification:
    """Run it through a runner and compare."""
    purpose = "inference" if frozen.chosen.is_inference else "confirm"
    verdict = runner.run(frozen.configuration, Plan(purpose=purpose, max_seconds=seconds), NullJournal())
    return Verification(verdict, tuple(_comparisons(frozen, verdict)))


def _comparisons(frozen: Frozen, verdict: Verdict) -> list[Comparison]:
    error = max(frozen.promised.micro_step_rel_error or 0.0, verdict.measurements.micro_step_rel_error or 0.0)
    time = max(LAUNCH_BAND if frozen.promised.launch_bound else TIME_BAND, 2 * error)
    bands = {"step_s": time, "device_peak_used_bytes": MEMORY_BAND, "host_peak_bytes": MEMORY_BAND}
    figures = {name: (getattr(frozen.promised, name), getattr(verdict.measurements, name)) for name in bands}
    if frozen.chosen.is_inference:
        bands["eval_s_per_sample"] = time
        figures["eval_s_per_sample"] = (_eval_s(frozen.promised), _eval_s(verdict.measurements))
    return [Comparison(n, was, now, bands[n]) for n, (was, now) in figures.items() if was and now is not None]


def _eval_s(figures: Measurements) -> float | None:
    return 1 / figures.eval_samples_per_s if figures.eval_samples_per_s else None


def report(result: Verification) -> str:
    """Return the verdict and the figures in words."""
    lines = [f"{result.verdict.kind}: {result.verdict.hint}"]
    for figure in result.comparisons:
        said = "holds" if figure.holds else f"worse by more than {figure.band:.0%}"
        was, now = (_text(figure.name, value) for value in (figure.promised, figure.now))
        lines.append(f"  {figure.name}: promised {was}, now {now} ({figure.change:+.1%}), {said}")
    return words.clean("\n".join(lines))


def _text(name: str, value: float) -> str:
    return format_bytes(value) if name.endswith("_bytes") else f"{value:.6g}"
