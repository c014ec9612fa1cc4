"""What is known of a running search at this moment: the events put it together, the views show it."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from autobatch import attributes
from autobatch.request import Limits
from autobatch.review import words
from autobatch.settings import EVAL_BATCH, Configuration, Scalar
from autobatch.units import GIB, format_duration
from autobatch.verdict import Kind, Verdict

LAST_VERDICTS = 3
LAST_NOTES = 3


class Watch(Protocol):
    """Reads how the probe at work stands: `phase`, `device_bytes`, `host_bytes`, as far as they are known."""

    def __call__(self) -> Mapping[str, Any]:
        """Return the present standing; quick, and it never raises."""


@dataclass(frozen=True)
class Best:
    """The fastest trial that ran within the limits."""

    trial: int
    settings: Mapping[str, Scalar]
    samples_per_s: float


@dataclass(frozen=True)
class Scene:
    """What a view should know before the search begins; all of it may be left out."""

    model: str = ""
    budget_s: float | None = None
    limits: Limits = field(default_factory=Limits)
    watch: Watch | None = None
    best: Best | None = None
    """Of a study that is gone on with, as it was left."""


@dataclass
class Picture:
    """The standing of a search."""

    scene: Scene = field(default_factory=Scene)
    clock: Callable[[], float] = time.monotonic
    stage: str = "preparing"
    running: tuple[int, Configuration, Mapping[str, Any]] | None = None
    running_since: float = 0.0
    best: Best | None = None
    left_to_gain: float | None = None
    """Share that further probes are expected to gain; None before the sampler can tell, and with one that cannot."""
    last: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_VERDICTS))
    counts: Counter[str] = field(default_factory=Counter)
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_NOTES))
    started: float = field(default=0.0)

    def __post_init__(self) -> None:
        """Start the clock."""
        self.started = self.clock()

    def begin(self, scene: Scene) -> None:
        """Take in what is known before the search, and start its clock."""
        self.scene, self.started, self.best = scene, self.clock(), scene.best

    def trial_started(self, number: int, configuration: Configuration, why: Mapping[str, Any]) -> None:
        """Take in that a probe begins."""
        self.running, self.running_since = (number, configuration, why), self.clock()
        left = why.get(attributes.LEFT_TO_GAIN)
        self.left_to_gain = self.left_to_gain if left is None else left / 100

    def trial_finished(self, number: int, configuration: Configuration, verdict: Verdict) -> str:
        """Take in that a probe has ended; return that in one line."""
        self.running = None
        self.counts["ok" if verdict.ok else "failed"] += verdict.kind is not Kind.HOPELESS
        better = verdict.ok and rate(verdict) > (self.best.samples_per_s if self.best else 0.0)
        if better:
            self.best = Best(number, configuration, rate(verdict))
        line = verdict_line(number, configuration, verdict) + (" (best so far)" if better else "")
        self.last.append(line)
        return line

    @property
    def elapsed_s(self) -> float:
        """Seconds since the search began."""
        return self.clock() - self.started

    @property
    def left_s(self) -> float | None:
        """Seconds of the budget that are left; None without a budget."""
        return None if self.scene.budget_s is None else max(0.0, self.scene.budget_s - self.elapsed_s)

    @property
    def best_line(self) -> str:
        """The best configuration so far."""
        if self.best is None:
            return "none yet"
        what = words.configuration(self.best.settings, brief=True)
        return f"{words.number(self.best.samples_per_s)} samples/s, trial {self.best.trial}: {what}"

    def standing(self) -> Mapping[str, Any]:
        """Return phase and memory of the probe at work."""
        return self.scene.watch() if self.scene.watch and self.running else {}


def rate(verdict: Verdict) -> float:
    """Return the measured throughput, 0 without one."""
    return verdict.measurements.samples_per_s or 0.0


def verdict_line(number: int, configuration: Configuration, verdict: Verdict) -> str:
    """Say how a trial ended in one line."""
    what = f"trial {number}: {words.configuration(configuration, brief=True)}"
    if not verdict.ok:
        return f"{what}: {verdict.kind}. {verdict.hint}"
    peak = verdict.measurements.device_peak_used_bytes
    memory = f", {peak / GIB:.1f} GiB" if peak else ""
    return f"{what}: {_speed(configuration, verdict)}{memory}, in {format_duration(verdict.duration_s)}"


def _speed(configuration: Configuration, verdict: Verdict) -> str:
    """Say the throughput of training, or that of evaluation where only that was measured."""
    evaluated = verdict.measurements.eval_samples_per_s
    if rate(verdict) or not evaluated:
        return f"{words.number(rate(verdict))} samples/s"
    return f"eval batch {configuration[EVAL_BATCH]}, {words.number(evaluated)} samples/s in evaluation"


def expectation(why: Mapping[str, Any]) -> str:
    """Say why a trial is run and what is expected of it, in one line; the search's own words come first."""
    if why.get(attributes.WHY):
        return words.one_line(why[attributes.WHY])
    rate_expected, peak = why.get(attributes.PREDICTED_SAMPLES_PER_S), why.get(attributes.PREDICTED_PEAK_GIB)
    chance = why.get(attributes.CHANCE_TO_FIT)
    parts = [f"{words.number(rate_expected)} samples/s expected"] if rate_expected else []
    parts += [f"{peak:.1f} GiB expected"] if peak else []
    return ", ".join([*parts, *([f"{words.percent(chance)} to fit"] if chance is not None else [])])
