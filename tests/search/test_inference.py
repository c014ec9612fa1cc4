from dataclasses import replace

import pytest
from optuna.storages import InMemoryStorage

from autobatch.search import earlier
from autobatch.settings import EVAL_BATCH, SearchSpace
from autobatch.verdict import Kind, Measurements, Verdict

SPACE = SearchSpace({}, {"precision": ("bf16",), EVAL_BATCH: (1, 2, 4, 8, 16, 32, 64, 128)}, 48)
FASTEST = 32
CLIMB = 7
"""Probes until the batch gains nothing: 1 to 64."""


@pytest.fixture
def infer(search):
    def infer(**changes):
        return search(space=SPACE, phase="inference", **changes).run()

    return infer


@pytest.fixture
def again(world):
    """Change what comes of every probe but the first of a configuration."""

    def again(change):
        usual = world.run

        def run(configuration, plan, journal):
            repeated = configuration in [tried for tried, _ in world.tried]
            verdict = usual(configuration, plan, journal)
            return change(configuration, verdict) if repeated else verdict

        world.run = run

    return again


def batches(world):
    return [configuration[EVAL_BATCH] for configuration, _ in world.tried]


def test_the_fastest_is_measured_again_and_chosen_by_that_figure(infer, again, world):
    def slower(_, verdict):
        return replace(verdict, measurements=replace(verdict.measurements, eval_samples_per_s=1.0))

    again(slower)
    result = infer()
    assert batches(world) == [1, 2, 4, 8, 16, 32, 64, FASTEST]
    assert {purpose for _, purpose in world.tried} == {"inference"}
    assert result.chosen.configuration[EVAL_BATCH] == FASTEST
    assert result.chosen.confirmed
    assert result.chosen.measurements.eval_samples_per_s == 1.0


@pytest.mark.parametrize("kind", [Kind.CUDA_OOM_EVAL, Kind.OVER_LIMIT, Kind.HOST_OVER_LIMIT, Kind.HOST_OOM])
def test_what_memory_fails_the_second_time_gives_way_to_the_next_smaller(infer, again, world, kind):
    def larger_than_8_fail(configuration, verdict):
        return Verdict(kind, verdict.measurements, duration_s=5.0) if configuration[EVAL_BATCH] > 8 else verdict

    again(larger_than_8_fail)
    result = infer()
    assert batches(world)[CLIMB:] == [32, 16, 8]
    assert result.chosen.configuration[EVAL_BATCH] == 8
    assert result.chosen.confirmed


def test_where_memory_fails_every_batch_nothing_is_chosen(infer, again, world):
    again(lambda *_: Verdict(Kind.CUDA_OOM_EVAL, duration_s=5.0))
    result = infer()
    assert batches(world)[CLIMB:] == [32, 16, 8, 4, 2, 1]
    assert result.chosen is None
    assert result.advice


def test_another_failure_the_second_time_leaves_it_unconfirmed(infer, again, world):
    again(lambda *_: Verdict(Kind.TIMEOUT, duration_s=5.0))
    result = infer()
    assert batches(world)[CLIMB:] == [32]
    assert result.chosen.configuration[EVAL_BATCH] == FASTEST
    assert not result.chosen.confirmed


def test_without_the_last_stage_nothing_is_measured_again(infer, world):
    result = infer(confirmations=0)
    assert len(world.tried) == CLIMB
    assert not result.chosen.confirmed


@pytest.mark.parametrize("budget_s", [20.0, 31.0, 44.0, 1000.0])
def test_the_confirmation_is_within_the_budget(infer, budget_s):
    result = infer(budget_s=budget_s)
    assert result.elapsed_s <= budget_s
    assert result.chosen.confirmed


def test_a_finished_search_measures_nothing_more(infer, world):
    storage = InMemoryStorage()
    first = infer(storage=storage)
    done = len(world.tried)
    second = infer(storage=storage)
    assert len(world.tried) == done
    assert second.chosen == first.chosen


def test_an_interrupted_confirmation_goes_on_where_it_was(infer, again, world):
    again(lambda *_: Verdict(Kind.OVER_LIMIT, duration_s=5.0))
    storage = InMemoryStorage()
    world.script = lambda n: KeyboardInterrupt() if n == CLIMB + 1 else None
    interrupted = infer(storage=storage)
    assert interrupted.chosen.configuration[EVAL_BATCH] == 16
    assert not interrupted.chosen.confirmed
    infer(storage=storage)
    assert batches(world)[CLIMB:] == [32, 16, 16, 8, 4, 2, 1]


def test_what_inference_needs_tells_other_searches_nothing_of_training(infer, workload):
    storage = InMemoryStorage()
    assert infer(storage=storage).chosen.confirmed
    assert earlier.read(earlier.Past(storage, "another", workload, None)) == ()


def test_a_batch_that_fails_in_any_way_when_measured_again_gives_way(infer, again):
    def breaks(configuration, verdict):
        return verdict if configuration[EVAL_BATCH] <= 8 else Verdict(Kind.CUDA_POISONED, duration_s=5.0)

    again(breaks)
    chosen = infer().chosen
    assert chosen.confirmed
    assert chosen.configuration[EVAL_BATCH] == 8


def test_it_says_that_the_time_was_up(infer):
    assert infer(budget_s=22.0).stopped == "the budget is used up"
    assert infer().stopped == "the inference batch gets no faster"


def test_where_every_repeat_is_disturbed_it_ends(infer, again, world):
    again(lambda _, verdict: replace(verdict, kind=Kind.DISTURBED))
    result = infer()
    assert result.stopped == "another process disturbs every measurement"
    assert len(world.tried) <= CLIMB + 1 + 3 * 3


def test_an_interrupt_keeps_the_fastest_that_was_measured(search, world):
    def run(configuration, plan, journal):  # noqa: ARG001 - the seam
        if configuration in [tried for tried, _ in world.tried]:
            raise KeyboardInterrupt
        world.tried.append((configuration, plan.purpose))
        rate = {"bf16": 1.0, "fp32": 2.0}[configuration["precision"]] * min(8, int(configuration[EVAL_BATCH]))
        figures = Measurements(eval_samples_per_s=rate, device_peak_used_bytes=2**30)
        return Verdict(Kind.OK, figures, duration_s=5.0)

    world.run = run
    space = SearchSpace({}, {"precision": ("bf16", "fp32"), EVAL_BATCH: (1, 2, 4, 8, 16)}, 48)
    chosen = search(space=space, phase="inference").run().chosen
    assert chosen.configuration["precision"] == "fp32"
    assert chosen.measurements.eval_samples_per_s == 16.0


def test_the_runner_up_is_the_second_fastest_inference(search, world):
    rates = {"bf16": 90, "fp16": 100, "tf32": 95, "fp32": 50}

    def verdict(configuration):
        batch = configuration[EVAL_BATCH]
        speed = rates[configuration["precision"]] * batch / (batch + 4)
        return Verdict(Kind.OK, Measurements(eval_samples_per_s=speed, eval_device_peak_used_bytes=2**30))

    world.verdict = verdict
    space = SearchSpace({}, {"precision": tuple(rates), EVAL_BATCH: (1, 2, 4, 8, 16, 32, 64)}, 48)
    result = search(space=space, phase="inference").run()
    assert (result.chosen.configuration["precision"], result.runner_up.configuration["precision"]) == ("fp16", "tf32")


def test_a_batch_that_is_held_is_measured_in_every_precision(search, world):
    space = SearchSpace({EVAL_BATCH: 16}, {"precision": ("bf16",)}, 48)
    result = search(space=space, phase="inference").run()
    assert result.chosen.configuration[EVAL_BATCH] == 16
    assert result.chosen.confirmed
    assert batches(world) == [16, 16]


def test_where_the_time_is_short_the_first_precision_is_tried_first(search, world):
    space = SearchSpace({}, {"precision": ("bf16", "fp32"), EVAL_BATCH: SPACE.searched[EVAL_BATCH]}, 48)
    search(space=space, phase="inference", budget_s=25.0).run()
    assert {configuration["precision"] for configuration, _ in world.tried} == {"bf16"}
