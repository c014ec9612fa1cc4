"""The second stage: DataLoader workers and the eval batch of the best."""

from dataclasses import replace

import pytest

from autobatch.search.evaluation import EvalStage
from autobatch.search.tuning import no_larger
from autobatch.settings import EVAL_BATCH, PIN_MEMORY, PREFETCH, WORKERS, SearchSpace
from autobatch.verdict import Kind, Verdict


def test_the_loader_and_eval_stages_tune_the_winner(search, world, workload):
    world.loader_batch_s = 1.0
    searched = {
        "precision": ("bf16", "fp32"),
        "gradient_checkpointing": (False, True),
        WORKERS: (0, 1, 2, 3, 4, 6, 8),
        EVAL_BATCH: (1, 2, 4, 8, 16, 32, 64, 128),
    }
    much = replace(workload, eval_samples=20_000)
    result = search(space=SearchSpace({}, searched, 48), workload=much).run()
    chosen = result.chosen.configuration
    assert result.chosen.measurements.loader_wait_fraction <= 0.02
    fewer = chosen.replace({WORKERS: int(chosen[WORKERS]) - 1})
    assert world.verdict(fewer).measurements.loader_wait_fraction > 0.02
    assert chosen[EVAL_BATCH] == 32
    assert result.chosen.confirmed


def test_workers_that_make_steps_slower_are_too_few_though_nothing_waits(search, world):
    world.needs_workers = 2
    searched = {"precision": ("bf16",), WORKERS: (0, 1, 2, 3, 4)}
    result = search(space=SearchSpace({}, searched, 48)).run()
    assert result.chosen.configuration[WORKERS] == 2


def test_a_slow_evaluation_leaves_time_for_a_confirmation(search, world, workload):
    world.eval_probe_s = 40.0
    searched = {"precision": ("bf16",), EVAL_BATCH: (1, 2, 4, 8, 16, 32, 64, 128)}
    much = replace(workload, eval_samples=20_000)
    result = search(space=SearchSpace({}, searched, 48), workload=much, budget_s=200.0).run()
    assert [purpose for _, purpose in world.tried].count("eval") == 2
    assert result.chosen.confirmed
    assert result.chosen.configuration[EVAL_BATCH] > 8


def test_evaluation_that_hardly_counts_takes_one_probe(search, world, workload, eval_space):
    search(space=eval_space, workload=replace(workload, eval_samples=100)).run()
    assert [purpose for _, purpose in world.tried].count("eval") == 1


def test_evaluation_that_fails_at_first_is_tried_at_a_smaller_batch(search, world, eval_space):
    usual = world.run

    def run(configuration, plan, journal):
        verdict = usual(configuration, plan, journal)
        fails = plan.purpose in {"eval", "confirm"} and configuration[EVAL_BATCH] > 2
        return Verdict(Kind.CUDA_OOM_EVAL, duration_s=3.0) if fails else verdict

    world.run = run
    chosen = search(space=eval_space).run().chosen
    assert chosen.configuration[EVAL_BATCH] == 2
    assert chosen.confirmed


WANTED = {PREFETCH: 8, PIN_MEMORY: False}


@pytest.mark.parametrize("faster", [None, PREFETCH, PIN_MEMORY])
def test_the_loaders_other_settings_keep_their_defaults_unless_another_value_is_faster(search, world, faster):
    usual = world.throughput
    world.throughput = lambda c: usual(c) * (1.2 if faster and c[faster] == WANTED[faster] else 1.0)
    searched = {"precision": ("bf16",), PREFETCH: (2, 4, 8), PIN_MEMORY: (False, True)}
    chosen = search(space=SearchSpace({WORKERS: 2}, searched, 48)).run().chosen
    found = {name: chosen.configuration[name] for name in WANTED}
    assert found == {PREFETCH: 2, PIN_MEMORY: True, **({faster: WANTED[faster]} if faster else {})}
    assert chosen.confirmed


def test_without_workers_nothing_is_prefetched_and_none_of_it_tried(search, world):
    searched = {"precision": ("bf16",), PREFETCH: (2, 4, 8)}
    search(space=SearchSpace({WORKERS: 0}, searched, 48)).run()
    assert {configuration[PREFETCH] for configuration, _ in world.tried} == {2}


def test_nothing_is_tuned_above_what_had_to_be_lowered():
    assert no_larger({EVAL_BATCH: 8, WORKERS: 2}, {EVAL_BATCH: 4}) == {EVAL_BATCH: 4, WORKERS: 2}
    assert no_larger({EVAL_BATCH: 2}, {EVAL_BATCH: 4}) == {EVAL_BATCH: 2}
    assert no_larger({}, {WORKERS: 1}) == {WORKERS: 1}


def test_where_there_is_no_time_for_a_smaller_eval_batch_it_is_confirmed_untried(
    search, world, eval_space, monkeypatch
):
    usual = world.run

    def run(configuration, plan, journal):
        verdict = usual(configuration, plan, journal)
        fails = plan.purpose == "eval" and configuration[EVAL_BATCH] >= 8
        return Verdict(Kind.CUDA_OOM_EVAL, duration_s=5.0) if fails else verdict

    world.run = run
    monkeypatch.setattr(EvalStage, "_descend", lambda *_: None)
    chosen = search(space=eval_space).run().chosen
    assert chosen.confirmed
    assert chosen.configuration[EVAL_BATCH] == 4
