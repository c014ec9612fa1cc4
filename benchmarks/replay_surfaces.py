"""Recorded response surfaces: read from CSV, and put behind the seam that a live GPU stands behind."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from autobatch.estimate import cards
from autobatch.request import Journal, Limits, Plan
from autobatch.search.samplers import core
from autobatch.settings import (
    CHECKPOINTING,
    METHOD,
    MICRO_BATCH,
    OPTIM,
    PRECISION,
    QUANTIZATION,
    Configuration,
    Scalar,
    SearchSpace,
)
from autobatch.verdict import Kind, Measurements, Verdict

GIB = 2**30
MEMORY_NOISE, AFFINE_NOISE, FLAT_NOISE = 0.01, 0.02, 0.15
FLAT_WITHIN = 1.3
TIMED_STEPS, LONGEST_TIMING_S = 10, 3.0
SEARCHED = (METHOD, QUANTIZATION, PRECISION, CHECKPOINTING, OPTIM)


@dataclass(frozen=True)
class Row:
    """One recorded configuration; figures are None where it ran out of memory on the recording card."""

    arm: Mapping[str, Scalar]
    batch: int
    micro_step_s: float | None
    optimizer_step_s: float | None
    first_steps_s: float | None
    start_s: float
    used_bytes: int | None


@dataclass(frozen=True)
class Surface:
    """All rows of one model."""

    model: str
    source_length: int
    target_length: int | None
    rows: tuple[Row, ...]
    card: str | None = None
    """Catalogue name of the card it was recorded on, where the file's name begins with one."""


@dataclass(frozen=True)
class Case:
    """A model on an emulated card at a fixed effective batch."""

    model: str
    card_gib: float
    effective_batch: int


def read_surfaces(folder: Path) -> dict[str, Surface]:
    """Read every CSV file of a folder, by model."""
    surfaces: dict[str, Surface] = {}
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        for model in dict.fromkeys(row["model"] for row in rows):
            surfaces[model] = _surface(model, [row for row in rows if row["model"] == model], path.stem)
    return surfaces


def read_cases(path: Path) -> list[Case]:
    """Read the cases of a YAML file."""
    data = yaml.safe_load(path.read_text())
    return [Case(str(c["model"]), float(c["card_gib"]), int(c["effective_batch"])) for c in data["cases"]]


def _surface(model: str, rows: list[dict[str, str]], stem: str) -> Surface:
    target = rows[0]["target_length"]
    read = tuple(_row(row) for row in rows)
    return Surface(model, int(rows[0]["source_length"]), int(target) if target else None, read, _card(stem))


def _card(stem: str) -> str | None:
    return next((name for name in cards.names() if stem.startswith(f"{name}-")), None)


def _row(row: Mapping[str, str]) -> Row:
    ran = row["status"] == "ok"
    quantized = row["method"] == "qlora"
    return Row(
        arm={
            METHOD: "lora" if quantized else row["method"],
            QUANTIZATION: "nf4" if quantized else "none",
            PRECISION: row["precision"],
            CHECKPOINTING: row["gradient_checkpointing"].lower() == "true",
            OPTIM: row["optim"],
        },
        batch=int(row["per_device_train_batch_size"]),
        micro_step_s=_seconds(row["forward_backward_ms"], 1e-3) if ran else None,
        optimizer_step_s=_seconds(row["optimizer_step_ms"], 1e-3) if ran else None,
        first_steps_s=_seconds(row["first_two_steps_s"], 1.0),
        start_s=(_seconds(row["cuda_context_s"], 1.0) or 0.0) + (_seconds(row["build_s"], 1.0) or 0.0),
        used_bytes=int(row["device_used_bytes"]) if ran else None,
    )


def _seconds(text: str, unit: float) -> float | None:
    return float(text) * unit if text else None


class Replay:
    """One case as a `Runner`: probes cost virtual time, and what they show is noisy by seed.

    The same configuration, seed and repetition always shows the same figures, whoever asks.
    """

    def __init__(self, surface: Surface, case: Case, seed: int) -> None:
        self.case = case
        self.seed = seed
        self.now_s = 0.0
        self.probes = 0
        self.oom_probes = 0
        self._rows = [row for row in surface.rows if case.effective_batch % row.batch == 0]
        self._arm_rows = _by_arm(surface.rows)
        self.space = _space(self._rows, case.effective_batch)
        self._by_core = {core(self.configuration(row)): row for row in self._rows}
        self._repeats: Counter[Any] = Counter()

    @property
    def candidates(self) -> tuple[Configuration, ...]:
        """Every recorded configuration of the case."""
        return tuple(self.configuration(row) for row in self._rows)

    @property
    def limits(self) -> Limits:
        """The emulated card, all of it."""
        return Limits(device_bytes=round(self.case.card_gib * GIB), device_fraction=1.0)

    def clock(self) -> float:
        """Return the virtual time, in seconds."""
        return self.now_s

    def configuration(self, row: Row) -> Configuration:
        """Return the configuration of a row at the case's effective batch."""
        return self.space.at(row.arm, row.batch)

    def fits(self, row: Row) -> bool:
        """Tell whether a row fits on the card."""
        return row.used_bytes is not None and row.used_bytes <= self.case.card_gib * GIB

    def throughput(self, row: Row) -> float:
        """Return the noiseless samples/s of a row that fits; 0 for another."""
        return self._samples_per_s(row, 1.0) if self.fits(row) else 0.0

    def optimum(self) -> float | None:
        """Return the best noiseless throughput; None where nothing fits."""
        return max((self.throughput(row) for row in self._rows), default=0.0) or None

    def judge(self, chosen: Configuration | None) -> tuple[float, bool]:
        """Return the regret of a choice, and whether it is unsafe."""
        optimum = self.optimum()
        if chosen is None or optimum is None:
            return float(chosen is not None or optimum is not None), chosen is not None
        row = self._by_core[core(chosen)]
        return 1 - self.throughput(row) / optimum, not self.fits(row)

    def grid_seconds(self) -> float:
        """Return what probing every configuration once costs."""
        return sum(self._cost_s(row, 1.0) for row in self._rows)

    def run(self, configuration: Configuration, plan: Plan, journal: Journal) -> Verdict:  # noqa: ARG002 - the seam
        """Look the configuration up, with noise; the virtual clock goes on by what the probe costs."""
        row = self._by_core[core(configuration)]
        memory_noise, time_noise, seen = self._noise(row)
        seconds = self._cost_s(row, time_noise)
        self.now_s += seconds
        self.probes += 1
        if not self.fits(row):
            self.oom_probes += 1
            # as live: what the card held when it was last looked at, which is no measure of what was needed
            held = Measurements(device_peak_used_bytes=round(seen * self.case.card_gib * GIB))
            return Verdict(Kind.CUDA_OOM_TRAIN, held, duration_s=seconds)
        assert row.micro_step_s is not None
        assert row.optimizer_step_s is not None
        assert row.used_bytes is not None
        throughput = self._samples_per_s(row, time_noise)
        measured = Measurements(
            micro_step_s=row.micro_step_s * time_noise,
            optimizer_step_s=row.optimizer_step_s * time_noise,
            step_s=self.case.effective_batch / throughput,
            samples_per_s=throughput,
            device_peak_used_bytes=round(row.used_bytes * memory_noise),
        )
        return Verdict(Kind.OK, measured, duration_s=seconds)

    def _samples_per_s(self, row: Row, factor: float) -> float:
        accumulation = self.case.effective_batch // row.batch
        step_s = accumulation * (row.micro_step_s or math.inf) + (row.optimizer_step_s or 0.0)
        return self.case.effective_batch / (step_s * factor)

    def _cost_s(self, row: Row, factor: float) -> float:
        if not self.fits(row):
            return row.start_s + self._smaller_first_steps_s(row)
        step_s = ((row.micro_step_s or 0.0) + (row.optimizer_step_s or 0.0)) * factor
        return row.start_s + (row.first_steps_s or 0.0) + min(TIMED_STEPS * step_s, LONGEST_TIMING_S)

    def _smaller_first_steps_s(self, row: Row) -> float:
        smaller = [r for r in self._arm_rows[_key(row)] if r.batch < row.batch and r.first_steps_s is not None]
        nearest = max(smaller, key=lambda r: r.batch, default=row)
        return nearest.first_steps_s or 0.0

    def _noise(self, row: Row) -> tuple[float, float, float]:
        key = (_key(row), row.batch)
        repeat = self._repeats[key]
        self._repeats[key] += 1
        rng = np.random.default_rng([self.seed, list(self._by_core.values()).index(row), repeat])
        floor = min((r.micro_step_s for r in self._arm_rows[_key(row)] if r.micro_step_s), default=0.0)
        flat = (row.micro_step_s or 0.0) <= FLAT_WITHIN * floor
        memory, time = rng.standard_normal(2)
        return math.exp(MEMORY_NOISE * memory), math.exp((FLAT_NOISE if flat else AFFINE_NOISE) * time), rng.random()


def _key(row: Row) -> tuple[Scalar, ...]:
    return tuple(row.arm[name] for name in SEARCHED)


def _by_arm(rows: Iterable[Row]) -> dict[tuple[Scalar, ...], list[Row]]:
    arms: dict[tuple[Scalar, ...], list[Row]] = {}
    for row in rows:
        arms.setdefault(_key(row), []).append(row)
    return arms


def _space(rows: list[Row], effective_batch: int) -> SearchSpace:
    values = {name: tuple(dict.fromkeys(row.arm[name] for row in rows)) for name in SEARCHED}
    searched = {name: choices for name, choices in values.items() if len(choices) > 1}
    fixed = {name: choices[0] for name, choices in values.items() if len(choices) == 1}
    batches: tuple[Scalar, ...] = tuple(sorted({row.batch for row in rows}))
    return SearchSpace(fixed, {**searched, MICRO_BATCH: batches}, effective_batch)
