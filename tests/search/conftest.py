import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from optuna.storages import InMemoryStorage

from autobatch.request import Limits
from autobatch.search.engine import Search
from autobatch.settings import EVAL_BATCH, WORKERS, Configuration, SearchSpace
from autobatch.verdict import Kind, Measurements, Verdict
from autobatch.workload.spec import Model, Workload

GIB = 2**30


@dataclass
class World:
    """A machine as a formula: memory affine in the micro-batch, time flat and then affine, a clock that probes move."""

    effective_batch: int = 48
    card_gib: float = 24.0
    fixed_gib: float = 6.0
    sample_gib: float = 3.0
    loader_batch_s: float = 0.0
    worker_gib: float = 0.5
    host_gib: float = 60.0
    host_kind: Kind = Kind.HOST_OOM
    eval_floor_s: float = 0.1
    eval_probe_s: float = 5.0
    needs_workers: int = 0
    """Below so many workers a micro-step is slower, though nothing waits for the loader."""
    now: float = 0.0
    tried: list[tuple[Configuration, str]] = field(default_factory=list)
    script: Callable[[int], Verdict | BaseException | None] = lambda _: None

    def clock(self):
        return self.now

    def used_gib(self, configuration):
        each = self.sample_gib / (3 if configuration["gradient_checkpointing"] else 1)
        return self.fixed_gib + each * configuration.micro_batch

    def micro_step_s(self, configuration):
        slower = {"bf16": 1.0, "fp32": 4.0}[configuration["precision"]]
        again = 1.35 if configuration["gradient_checkpointing"] else 1.0
        return again * max(0.2, 0.03 + 0.06 * slower * configuration.micro_batch)

    def throughput(self, configuration):
        if self.used_gib(configuration) > self.card_gib:
            return 0.0
        return self.effective_batch / (configuration.accumulation * self.micro_step_s(configuration) + 0.01)

    def run(self, configuration, plan, journal):  # noqa: ARG002 - the seam
        scripted = self.script(len(self.tried))
        self.tried.append((configuration, plan.purpose))
        seconds = self.eval_probe_s if plan.purpose in {"eval", "confirm"} else 5.0
        self.now += min(seconds, plan.max_seconds)
        if seconds > plan.max_seconds:
            return Verdict(Kind.TIMEOUT, duration_s=plan.max_seconds)
        if isinstance(scripted, BaseException):
            raise scripted
        verdict = scripted or self.verdict(configuration)
        return replace(verdict, duration_s=seconds) if verdict.kind is Kind.OK else verdict

    def verdict(self, configuration):
        if self.used_gib(configuration) > self.card_gib:
            return Verdict(Kind.CUDA_OOM_TRAIN, duration_s=3.0)
        workers, evals = int(configuration[WORKERS]), int(configuration[EVAL_BATCH])
        micro = self.micro_step_s(configuration)
        ready = self.loader_batch_s / workers if workers else self.loader_batch_s + micro
        wait = max(0.0, 1 - micro / ready) if ready else 0.0
        hidden = 0.8 if workers < self.needs_workers else 1.0
        host = 4 + workers * self.worker_gib
        if host > self.host_gib * 0.8 and self.host_kind is Kind.HOST_OOM:
            return Verdict(Kind.HOST_OOM, duration_s=4.0)
        measured = Measurements(
            micro_step_s=micro,
            optimizer_step_s=0.01,
            step_s=configuration.accumulation * micro + 0.01,
            samples_per_s=self.throughput(configuration) * (1 - wait) * hidden,
            device_peak_used_bytes=round(self.used_gib(configuration) * GIB),
            host_peak_bytes=round(host * GIB),
            loader_worker_bytes=round(self.worker_gib * GIB),
            loader_batch_s=self.loader_batch_s,
            loader_wait_fraction=wait,
            eval_samples_per_s=evals / max(self.eval_floor_s, 0.004 * evals),
            eval_device_peak_used_bytes=round((self.fixed_gib + 0.1 * evals) * GIB),
        )
        return Verdict(Kind.OK if host <= self.host_gib * 0.8 else self.host_kind, measured, duration_s=5.0)


@pytest.fixture
def world():
    return World()


@pytest.fixture
def confirming(world):
    """Changes the verdicts of confirmations alone: `change(configuration, verdict)`."""

    def do(change):
        usual = world.run

        def run(configuration, plan, journal):
            verdict = usual(configuration, plan, journal)
            return change(configuration, verdict) if plan.purpose == "confirm" else verdict

        world.run = run

    return do


@pytest.fixture
def workload():
    return Workload(Model("tiny", "tiny", "causal"), effective_batch=48)


@pytest.fixture
def space():
    return SearchSpace({}, {"precision": ("bf16", "fp32"), "gradient_checkpointing": (False, True)}, 48)


@pytest.fixture
def eval_space():
    """A space in which the eval batch is searched, too."""
    searched = {
        "precision": ("bf16", "fp32"),
        "gradient_checkpointing": (False, True),
        EVAL_BATCH: (1, 2, 4, 8, 16, 32, 64, 128),
    }
    return SearchSpace({}, searched, 48)


@pytest.fixture
def search(world, workload, space):
    def make(**changes):
        usual = {
            "workload": workload,
            "space": space,
            "runner": world,
            "storage": InMemoryStorage(),
            "limits": Limits(round(world.card_gib * GIB), 1.0, round(world.host_gib * GIB)),
            "budget_s": 3600.0,
            "clock": world.clock,
        }
        return Search(**{**usual, **changes})

    return make


@pytest.fixture
def optimum(world, space):
    return max(world.throughput(configuration) for configuration in space.grid())


def is_close(one, two):
    return math.isclose(one, two, rel_tol=0.03)
