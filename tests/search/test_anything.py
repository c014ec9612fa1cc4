"""Whatever comes of the probes, a search ends in time, without an exception, and with a choice that ran."""

import random
from dataclasses import replace

import pytest
from optuna.storages import InMemoryStorage

from autobatch.request import Limits
from autobatch.settings import EVAL_BATCH, WORKERS, SearchSpace
from autobatch.verdict import Kind, Verdict

GIB = 2**30
FAILURES = tuple(kind for kind in Kind if kind not in {Kind.OK, Kind.KILLED_IN_FLIGHT})
LATE_S = 2.0
"""A probe is given a second at least."""


@pytest.fixture(params=range(200))
def dice(request):
    return random.Random(request.param)


@pytest.fixture
def any_world(world, dice):
    world.effective_batch, world.card_gib = dice.choice([1, 7, 16, 48, 97]), dice.choice([4, 12, 24, 80])
    world.fixed_gib, world.sample_gib = dice.choice([1, 6, 30]), dice.choice([0.01, 0.3, 3])
    world.loader_batch_s, world.worker_gib = dice.choice([0, 0.05, 2]), dice.choice([0.5, 5])
    world.host_gib, world.eval_probe_s = dice.choice([16, 60]), dice.choice([5, 60])
    often = dice.choice([0, 0.1, 0.3, 0.7, 1.0])
    kinds = dice.choice([[Kind.DISTURBED], *(dice.sample(FAILURES, count) for count in (1, 2, 5))])

    def fails(_):
        failed = dice.random() < often
        return Verdict(dice.choice(kinds), duration_s=dice.choice([0.5, 4, 20])) if failed else None

    world.script = fails
    return world


def any_space(dice, effective_batch):
    arms = {"precision": ("bf16", "fp32"), "gradient_checkpointing": dice.choice([(False,), (False, True)])}
    workers = {WORKERS: dice.choice([(0,), (0, 1, 2, 4, 8), (4, 8)])} if dice.random() < 0.7 else {}
    evals = {EVAL_BATCH: dice.choice([(1, 2, 4, 8, 16, 64), (16,)])} if dice.random() < 0.7 else {}
    return SearchSpace({}, {**arms, **workers, **evals}, effective_batch)


def test_it_ends_well(search, any_world, dice, workload):
    space = any_space(dice, any_world.effective_batch)
    asked = {
        "space": space,
        "storage": InMemoryStorage(),
        "workload": replace(workload, effective_batch=any_world.effective_batch),
        "limits": Limits(any_world.card_gib * GIB, 0.85, any_world.host_gib * GIB),
        "budget_s": dice.choice([0.5, 5.0, 31.0, 120.0, 3600.0]),
        "phase": dice.choice(["train", "train", "inference"]),
        "sampler_name": dice.choice(["structured", "structured", "grid", "tpe", "random"]),
    }
    for _ in range(2):  # the second goes on with the first
        result = search(**asked).run()

        assert result.elapsed_s <= asked["budget_s"] + LATE_S
        if result.chosen is not None:
            chosen = result.chosen.configuration
            assert chosen.micro_batch * chosen.accumulation == any_world.effective_batch
            assert any_world.used_gib(chosen) <= any_world.card_gib or asked["phase"] == "inference"
