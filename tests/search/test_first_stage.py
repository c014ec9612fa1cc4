"""The first stage: what it tries, what it does when that fails, and when it ends."""

from dataclasses import replace
from types import SimpleNamespace

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from autobatch import attributes
from autobatch.request import Limits
from autobatch.search.samplers import core
from autobatch.search.seams import NullLedger
from autobatch.settings import MICRO_BATCH, WORKERS, SearchSpace
from autobatch.verdict import Kind, Verdict

GIB = 2**30


class HoldingBack(NullLedger):
    def __init__(self, bad):
        self.bad = list(bad)

    def quarantined(self, study):  # noqa: ARG002 - the seam
        return self.bad


@pytest.mark.parametrize("fixed_gib", [30.0, 200.0])
def test_nothing_fits_is_recognised_and_says_what_would(search, world, space, fixed_gib):
    world.fixed_gib = fixed_gib
    result = search().run()
    assert result.chosen is None
    assert result.probes <= 3 * len(space.arms())
    assert "GiB" in result.advice
    assert "24.0 GiB are safe" in result.advice


def test_quarantined_and_larger_configurations_are_never_tried(search, world, space):
    bad = space.at({"precision": "bf16", "gradient_checkpointing": False}, 4)
    search(ledger=HoldingBack([bad]), sampler_name="grid").run()
    same_arm = [c.micro_batch for c, _ in world.tried if c.arm == bad.arm]
    assert max(same_arm) == 3


@pytest.mark.parametrize("sampler", ["structured", "grid"])
def test_where_all_is_held_back_the_search_ends_and_says_so(search, world, space, sampler):
    result = search(ledger=HoldingBack(space.grid()), sampler_name=sampler).run()

    assert (result.chosen, world.tried) == (None, [])
    assert result.stopped == "every configuration is held back"


def test_a_disturbed_measurement_is_made_again(search, world):
    world.script = lambda n: Verdict(Kind.DISTURBED, duration_s=5.0) if n == 0 else None
    storage = InMemoryStorage()
    search(storage=storage).run()
    assert world.tried[0] == world.tried[1]
    trials = optuna.load_study(study_name="autobatch", storage=storage).trials
    assert [t.state for t in trials[:2]] == [TrialState.FAIL, TrialState.COMPLETE]


def test_a_fault_that_is_no_settings_ends_the_search(search, world):
    world.script = lambda _: Verdict(Kind.USER_ERROR, duration_s=1.0)
    result = search().run()
    assert result.chosen is None
    assert len(world.tried) == 3
    assert result.failures == {"user_error": 3}
    assert "user_error" in result.stopped


def test_a_script_that_fails_by_itself_is_not_tried_again(search, world):
    world.script = lambda _: Verdict(Kind.USER_ERROR, duration_s=1.0, flags=("fails_alone",))
    result = search().run()
    assert len(world.tried) == 1
    assert result.stopped.endswith("It fails also without autobatch.")


def test_a_lost_gpu_ends_the_search_at_once(search, world):
    world.script = lambda _: Verdict(Kind.GPU_LOST, duration_s=1.0)
    search().run()
    assert len(world.tried) == 1


def test_over_the_limit_teaches_memory_with_its_measurement(search, world, optimum):
    usual = world.verdict

    def measured(configuration):
        used = world.used_gib(configuration)
        world.card_gib = 1000.0
        verdict = usual(configuration)
        world.card_gib = 24.0
        return verdict if used <= 24.0 else Verdict(Kind.OVER_LIMIT, verdict.measurements, duration_s=5.0)

    world.verdict = measured
    assert search().run().chosen.measurements.samples_per_s >= 0.98 * optimum


def test_a_fault_mended_since_is_tried_again(search, world, optimum):
    storage = InMemoryStorage()
    world.script = lambda _: Verdict(Kind.USER_ERROR, duration_s=1.0)
    assert search(storage=storage).run().chosen is None
    world.script = lambda _: None
    assert search(storage=storage).run().chosen.measurements.samples_per_s >= 0.98 * optimum


def test_a_fault_that_is_still_there_ends_the_next_run_too(search, world):
    storage = InMemoryStorage()
    world.script = lambda _: Verdict(Kind.USER_ERROR, duration_s=1.0)
    for runs in (1, 2):
        assert "user_error" in search(storage=storage).run().stopped
        assert len(world.tried) == 3 * runs


def test_a_small_budget_is_not_held_back_before_anything_fits(search, world):
    world.script = lambda n: Verdict(Kind.OVER_LIMIT, duration_s=30.0) if n == 0 else None
    usual = world.run

    def slow(configuration, plan, journal):
        world.now += 25.0
        return usual(configuration, plan, journal)

    world.run = slow
    result = search(budget_s=80.0).run()
    assert len(world.tried) > 1
    assert result.chosen is not None


def test_before_anything_has_run_a_large_budget_buys_a_long_probe(search, world):
    seen = []
    world.run = lambda configuration, plan, journal: (  # noqa: ARG005 - the seam
        seen.append(plan.max_seconds) or Verdict(Kind.TIMEOUT, duration_s=plan.max_seconds)
    )
    search(budget_s=3600.0).run()
    assert seen[0] == 900.0


def test_a_first_guess_is_called_one(search):
    storage = InMemoryStorage()
    search(storage=storage).run()
    study = optuna.load_study(study_name="autobatch", storage=storage)
    assert "a guess" in study.trials[0].user_attrs[attributes.WHY]
    assert all("a guess" not in trial.user_attrs[attributes.WHY] for trial in study.trials[1:])


def test_a_prior_alone_refuses_nobody(search, world):
    def wrong(configuration):  # noqa: ARG001 - the seam
        return SimpleNamespace(bytes=900 * GIB, rel_sigma=0.02)

    result = search(predict=wrong).run()

    assert result.chosen is not None
    assert world.tried


def test_on_the_cpu_running_out_of_host_memory_leads_to_smaller_configurations(search, world):
    world.sample_gib, world.worker_gib, world.host_gib = 0.0, 0.5, 24.0
    verdict = world.verdict

    def out_of_host(configuration):
        needs = 6.0 + configuration.micro_batch + 0.5 * int(configuration[WORKERS])
        return Verdict(Kind.HOST_OOM, duration_s=4.0) if needs > 12.0 else verdict(configuration)

    world.verdict = out_of_host
    searched = {"precision": ("bf16", "fp32"), "gradient_checkpointing": (False, True), WORKERS: (0, 1, 2, 4)}
    limits = Limits(24 * GIB, 0.8, 24 * GIB)

    result = search(space=SearchSpace({}, searched, 48), limits=limits).run()

    assert result.chosen is not None
    assert result.chosen.configuration.micro_batch <= 6


def test_with_no_threshold_every_configuration_is_tried_once(search, world):
    result = search(threshold=0.0).run()
    searched = [configuration for configuration, purpose in world.tried if purpose == "probe"]
    assert result.stopped == "0.0% are left to gain"
    assert len(searched) - len(set(searched)) <= 5  # comparisons


def test_what_killed_the_machine_with_less_is_not_tried_again(search, world):
    """The machine dies in the probe that repeats another with fewer workers."""
    space = SearchSpace({}, {"precision": ("bf16",), "gradient_checkpointing": (False, True), WORKERS: (0, 1, 2)}, 48)
    storage, world.script = InMemoryStorage(), [Verdict(Kind.HOST_OOM, duration_s=4.0), SystemExit()].__getitem__
    with pytest.raises(SystemExit):
        search(space=space, storage=storage).run()
    killer, world.script = world.tried[1][0], lambda _: None

    result = search(space=space, storage=storage, ledger=HoldingBack([killer])).run()

    assert result.chosen is not None
    assert core(killer) not in {core(configuration) for configuration, _ in world.tried[2:]}


def test_what_ran_out_of_time_is_tried_again_with_a_larger_budget(search, world):
    space = SearchSpace({"precision": "bf16", "gradient_checkpointing": False, MICRO_BATCH: 4}, {}, 48)
    storage, usual = InMemoryStorage(), world.verdict

    def run(configuration, plan, journal):  # noqa: ARG001 - the seam
        world.now += min(60.0, plan.max_seconds)
        late = plan.max_seconds < 60.0
        return Verdict(Kind.TIMEOUT) if late else replace(usual(configuration), duration_s=60.0)

    world.run = run
    assert search(space=space, storage=storage, budget_s=50.0).run().chosen is None
    assert search(space=space, storage=storage, budget_s=3600.0).run().chosen.confirmed


def test_where_probes_take_long_all_may(search, world):
    usual = world.verdict

    def run(configuration, plan, journal):  # noqa: ARG001 - the seam
        needs_s = 400.0 if plan.purpose == "confirm" else 200.0
        world.now += min(needs_s, plan.max_seconds)
        late = plan.max_seconds < needs_s
        return Verdict(Kind.TIMEOUT) if late else replace(usual(configuration), duration_s=needs_s)

    world.run = run
    result = search(budget_s=8 * 3600.0).run()
    assert "timeout" not in result.failures
    assert result.chosen.confirmed


def test_repeats_of_what_is_disturbed_stay_within_the_budget(search, world):
    def run(configuration, plan, journal):  # noqa: ARG001 - the seam
        world.now += 0.9 * plan.max_seconds
        return Verdict(Kind.DISTURBED, duration_s=0.9 * plan.max_seconds)

    world.run = run
    assert search(budget_s=300.0).run().elapsed_s <= 300.0


def test_where_every_measurement_is_disturbed_the_search_says_so_and_ends(search, world):
    world.script = lambda _: Verdict(Kind.DISTURBED, duration_s=5.0)
    result = search().run()
    assert result.stopped == "another process disturbs every measurement"
    assert len(world.tried) <= 4 * 3


def test_a_step_below_what_may_not_fit_says_what_it_is_a_step_to(search):
    storage = InMemoryStorage()
    result = search(storage=storage, study_name="steps").run()
    trials = optuna.load_study(study_name="steps", storage=storage).trials
    reasons = [trial.user_attrs[attributes.WHY] for trial in trials]
    steps = [reason for reason in reasons if "on the way to micro-batch" in reason]
    assert result.chosen
    assert steps
    assert not any("expected gain" in step for step in steps)


def test_where_evaluation_alone_fails_the_advice_is_a_smaller_eval_batch(search, world):
    usual = world.run

    def run(*asked):
        usual(*asked)
        return Verdict(Kind.CUDA_OOM_EVAL, duration_s=3.0)

    world.run = run
    result = search().run()
    assert result.chosen is None
    assert "evaluation does not fit, at per_device_eval_batch_size 8" in result.advice


@pytest.mark.parametrize("sampler", ["structured", "random", "grid"])
def test_what_a_person_trains_with_now_is_tried_first_and_told(search, world, space, sampler):
    own = space.at({"precision": "fp32", "gradient_checkpointing": True}, 3)
    result = search(own=own, sampler_name=sampler).run()
    assert core(world.tried[0][0]) == core(own)
    assert core(result.own.configuration) == core(own)
    assert result.to_dict()["own"]["measurements"]["samples_per_s"] == result.own.measurements.samples_per_s


def test_their_workers_are_theirs_and_no_others(search, world, space):
    world.loader_batch_s = 0.2
    space = SearchSpace({}, {**space.searched, WORKERS: (0, 1, 2, 4)}, 48)
    own = space.at({"precision": "bf16", "gradient_checkpointing": False, WORKERS: 0}, 6)
    result = search(own=own, space=space).run()
    assert world.tried[0][0][WORKERS] == result.own.configuration[WORKERS] == 0
    assert result.own.measurements.samples_per_s == world.verdict(own).measurements.samples_per_s
    assert result.chosen.configuration[WORKERS] > 0


def test_what_a_person_trains_with_now_is_not_told_where_it_did_not_run(search, world, space):
    own = space.at({"precision": "fp32", "gradient_checkpointing": False}, 48)
    result = search(own=own).run()
    assert core(world.tried[0][0]) == core(own)
    assert result.own is None
    assert result.chosen is not None
