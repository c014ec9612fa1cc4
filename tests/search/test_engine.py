import json
import math
from dataclasses import replace
from types import SimpleNamespace

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from autobatch import attributes
from autobatch.errors import UsageError
from autobatch.request import Limits
from autobatch.search import facts
from autobatch.search.outlook import Outlook
from autobatch.search.samplers import core
from autobatch.search.seams import NullEntry, NullLedger, NullObserver
from autobatch.settings import EVAL_BATCH, MICRO_BATCH, WORKERS, SearchSpace
from autobatch.verdict import Kind, Verdict
from autobatch.workload.spec import Model, Workload

GIB = 2**30


class Closing(NullEntry):
    def __init__(self):
        self.ended = []

    def finish(self, verdict):
        self.ended.append(verdict.kind)


class Keeping(NullLedger):
    def __init__(self, bad=()):
        self.entries = []
        self.bad = list(bad)

    def begin(self, *_):
        self.entries.append(Closing())
        return self.entries[-1]

    def quarantined(self, study):  # noqa: ARG002 - the seam
        return self.bad


def test_it_finds_the_optimum_in_a_handful_of_probes(search, world, optimum):
    result = search().run()
    assert result.chosen.measurements.samples_per_s >= 0.98 * optimum
    assert result.chosen.confirmed
    assert result.probes <= 10
    assert result.remaining_gain < 0.01
    assert world.tried[-1][1] == "confirm"


@pytest.mark.parametrize(("bf16", "fp32"), [(1.4, 1.0), (0.5, 1.0)])
def test_on_a_cpu_either_precision_may_be_the_faster(search, world, monkeypatch, bf16, fp32):
    slower, usual = {"bf16": bf16, "fp32": fp32}, world.micro_step_s
    monkeypatch.setattr(
        world,
        "micro_step_s",
        lambda c: slower[c["precision"]] * usual(c.replace({"precision": "bf16"})),
    )
    shared = round(world.card_gib * GIB)

    result = search(limits=Limits(shared, 1.0, shared)).run()

    assert result.chosen.configuration["precision"] == ("bf16" if bf16 < fp32 else "fp32")
    assert result.probes <= 12


def test_the_effective_batch_is_held_by_every_trial(search, world):
    search().run()
    assert all(c.micro_batch * c.accumulation == 48 for c, _ in world.tried)


def test_the_answer_is_json_and_kept_with_the_study(search):
    storage = InMemoryStorage()
    result = search(storage=storage).run()
    kept = optuna.load_study(study_name="autobatch", storage=storage).user_attrs[attributes.ANSWER]
    assert json.loads(kept) == json.loads(json.dumps(result.to_dict()))


@pytest.mark.parametrize("fixed_gib", [30.0, 200.0])
def test_nothing_fits_is_recognised_and_says_what_would(search, world, space, fixed_gib):
    world.fixed_gib = fixed_gib
    result = search().run()
    assert result.chosen is None
    assert result.probes <= 3 * len(space.arms())
    assert "GiB" in result.advice
    assert "24.0 GiB are safe" in result.advice


def test_an_interrupt_keeps_what_is_known_and_the_same_command_goes_on(search, world):
    storage, ledger = InMemoryStorage(), Keeping()
    world.script = lambda n: KeyboardInterrupt() if n == 2 else None
    first = search(storage=storage, ledger=ledger).run()
    assert first.interrupted
    assert first.chosen is not None
    assert [len(e.ended) for e in ledger.entries] == [1, 1, 1]
    assert ledger.entries[-1].ended == [Kind.KILLED]
    before = [c for c, _ in world.tried[:2]]
    world.script = lambda _: None
    second = search(storage=storage).run()
    assert not second.interrupted
    assert second.chosen.confirmed
    searched = [c for c, purpose in world.tried[3:] if purpose == "probe"]
    assert not set(searched) & set(before)


def test_a_resumed_search_ends_where_an_undisturbed_one_does(search, world):
    whole = search().run()
    storage = InMemoryStorage()
    world.script = lambda n: KeyboardInterrupt() if n == whole.probes + 3 else None
    search(storage=storage).run()
    resumed = search(storage=storage).run()
    assert resumed.chosen.configuration == whole.chosen.configuration


def test_a_finished_search_needs_no_more_probes(search, world):
    storage = InMemoryStorage()
    search(storage=storage).run()
    done = len(world.tried)
    again = search(storage=storage).run()
    assert len(world.tried) == done
    assert again.chosen.confirmed


def test_trials_left_running_are_failed_at_the_start(search, workload):
    storage = InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name="autobatch", direction="maximize")
    study.set_user_attr(attributes.WORKLOAD, json.dumps(workload.to_dict()))
    stale = study.ask()
    search(storage=storage).run()
    study = optuna.load_study(study_name="autobatch", storage=storage)
    assert study.trials[stale.number].state is TrialState.FAIL


def test_a_study_of_another_workload_is_refused(search):
    storage = InMemoryStorage()
    search(storage=storage).run()
    other = Workload(Model("other", "other", "causal"), effective_batch=48)
    with pytest.raises(UsageError, match="another workload"):
        search(storage=storage, workload=other).run()


def test_a_study_of_another_space_is_refused(search):
    storage = InMemoryStorage()
    search(storage=storage).run()
    with pytest.raises(UsageError, match="another space"):
        search(storage=storage, space=SearchSpace({}, {"precision": ("bf16", "fp32")}, 48)).run()


def test_an_unknown_sampler_is_named(search):
    with pytest.raises(UsageError, match="'annealing'"):
        search(sampler_name="annealing").run()


def test_the_budget_is_a_ceiling(search):
    result = search(budget_s=31.0, sampler_name="grid").run()
    assert result.elapsed_s <= 31.0
    assert result.stopped == "the budget is used up"
    assert result.chosen.confirmed


def test_quarantined_and_larger_configurations_are_never_tried(search, world, space):
    bad = space.at({"precision": "bf16", "gradient_checkpointing": False}, 4)
    search(ledger=Keeping([bad]), sampler_name="grid").run()
    same_arm = [c.micro_batch for c, _ in world.tried if c.arm == bad.arm]
    assert max(same_arm) == 3


@pytest.mark.parametrize("sampler", ["structured", "grid"])
def test_where_all_is_held_back_the_search_ends_and_says_so(search, world, space, sampler):
    result = search(ledger=Keeping(space.grid()), sampler_name=sampler).run()

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


def test_within_the_tie_less_memory_wins(search, world):
    world.sample_gib = 0.3  # everything fits: from 12 upwards throughput differs by less than 2 %
    tied = search().run()
    fastest = search(tie=0.0).run()
    assert tied.chosen.measurements.device_peak_used_bytes <= fastest.chosen.measurements.device_peak_used_bytes
    assert tied.chosen.measurements.samples_per_s >= 0.98 * fastest.chosen.measurements.samples_per_s


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


@pytest.mark.parametrize("name", ["tpe", "gp", "random", "grid"])
def test_other_samplers_run_in_the_same_engine(search, name, optimum):
    result = search(sampler_name=name, budget_s=100.0).run()
    assert result.chosen.measurements.samples_per_s > 0.5 * optimum


def test_the_grid_is_exhaustive(search, world, space):
    search(sampler_name="grid").run()
    assert {c for c, purpose in world.tried if purpose == "probe"} == set(space.grid())


def test_the_inference_phase_climbs_the_eval_batch_alone(search, world):
    searched = {"precision": ("bf16",), EVAL_BATCH: (1, 2, 4, 8, 16, 32, 64, 128)}
    result = search(space=SearchSpace({}, searched, 48), phase="inference").run()
    assert {purpose for _, purpose in world.tried} == {"inference"}
    assert result.chosen.configuration[EVAL_BATCH] == 32


def test_an_observer_sees_stages_and_trials_in_order(search):
    class Noting(NullObserver):
        seen: list = []  # noqa: RUF012 - one test's own notes

        def stage(self, name):
            self.seen.append(name)

        def trial_started(self, number, configuration, why):  # noqa: ARG002 - the seam
            self.seen.append(number)
            assert why

        def trial_finished(self, number, configuration, verdict):  # noqa: ARG002 - the seam
            self.seen.append(-number)

    result = search(observer=Noting()).run()
    assert Noting.seen[0] == "search"
    assert Noting.seen[1:3] == [0, 0]
    assert Noting.seen.index("confirm") > Noting.seen.index("search")
    assert sum(isinstance(note, int) for note in Noting.seen) == 2 * result.probes


def test_no_limit_known_still_searches(search, optimum):
    result = search(limits=Limits()).run()
    assert math.isclose(result.chosen.measurements.samples_per_s, optimum, rel_tol=0.03)


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


def test_what_the_model_did_not_say_is_not_said(search, world):
    world.script = lambda _: Verdict(Kind.CUDA_OOM_TRAIN, duration_s=40.0)
    assert search(budget_s=8.0).run().remaining_gain is None


def test_the_hosts_limits_are_kept_but_may_change(search):
    storage = InMemoryStorage()
    search(storage=storage, limits=Limits(24 * GIB, 1.0, 60 * GIB, 0.7)).run()
    search(storage=storage, limits=Limits(24 * GIB, 1.0, 50 * GIB, 0.7)).run()
    kept = json.loads(optuna.load_study(study_name="autobatch", storage=storage).user_attrs[attributes.LIMITS])
    assert kept["host_bytes"] == 50 * GIB
    assert kept["host_fraction"] == 0.7
    with pytest.raises(UsageError, match="another limits"):
        search(storage=storage, limits=Limits(16 * GIB, 1.0)).run()


def test_a_study_that_kept_the_cards_limits_alone_goes_on(search, workload):
    storage = InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name="autobatch", direction="maximize")
    study.set_user_attr(attributes.WORKLOAD, json.dumps(workload.to_dict()))
    study.set_user_attr(attributes.LIMITS, json.dumps({"device_bytes": 24 * GIB, "device_fraction": 1.0}))
    assert search(storage=storage).run().chosen is not None


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


def test_an_interrupt_before_any_result_advises_the_same_command_again(search, world):
    world.script = lambda _: KeyboardInterrupt()

    result = search().run()

    assert result.interrupted
    assert "the same command again" in result.advice


def test_an_interrupt_while_it_first_thinks_leaves_no_trace(search, monkeypatch):
    seen = []
    look = Outlook._look

    def interrupted(self, facts):
        seen.append(facts)
        if len(seen) == 1:
            raise KeyboardInterrupt
        look(self, facts)

    monkeypatch.setattr(Outlook, "_look", interrupted)

    result = search().run()

    assert result.interrupted
    assert result.chosen is None


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


def test_the_throughput_is_that_of_all_devices(search):
    one = search(space=SearchSpace({}, {"precision": ("bf16",)}, 48)).run().chosen
    two = search(space=SearchSpace({}, {"precision": ("bf16",)}, 96, devices=2)).run().chosen

    assert two.configuration == one.configuration
    assert two.measurements.samples_per_s == pytest.approx(2 * one.measurements.samples_per_s)


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

    result = search(space=space, storage=storage, ledger=Keeping([killer])).run()

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


def test_a_repeats_answer_is_no_measurement_of_its_own(search):
    storage = InMemoryStorage()
    first = search(storage=storage, sampler_name="tpe", budget_s=150.0).run()
    study = optuna.load_study(study_name="autobatch", storage=storage)
    assert len(study.trials) > first.probes
    assert len(facts.read_all(study, search().space)) == first.probes


@pytest.mark.parametrize("sampler", ["grid", "structured"])
def test_an_interrupt_after_a_confirmation_keeps_what_was_confirmed(search, world, sampler):
    usual, confirmed = world.run, []

    def run(configuration, plan, journal):
        if confirmed:
            raise KeyboardInterrupt
        confirmed.extend([configuration] * (plan.purpose == "confirm"))
        return usual(configuration, plan, journal)

    world.run, world.card_gib = run, 200.0
    world.micro_step_s = lambda configuration: 0.03 + 0.06 * configuration.micro_batch
    result = search(sampler_name=sampler).run()
    assert result.chosen.confirmed
    assert [result.chosen.configuration] == confirmed


def test_an_interrupt_keeps_the_eval_batch_that_a_confirmation_had_lowered(search, world, eval_space):
    usual, confirmed = world.run, []

    def run(configuration, plan, journal):
        if plan.purpose != "confirm":
            return usual(configuration, plan, journal)
        confirmed.append(configuration)
        if len(confirmed) > 1:
            raise KeyboardInterrupt
        return Verdict(Kind.CUDA_OOM_EVAL, duration_s=5.0)

    world.run = run
    result = search(space=eval_space).run()
    assert result.chosen.configuration[EVAL_BATCH] == confirmed[1][EVAL_BATCH] < confirmed[0][EVAL_BATCH]


def test_a_step_below_what_may_not_fit_says_what_it_is_a_step_to(search):
    storage = InMemoryStorage()
    result = search(storage=storage, study_name="steps").run()
    trials = optuna.load_study(study_name="steps", storage=storage).trials
    reasons = [trial.user_attrs[attributes.WHY] for trial in trials]
    steps = [reason for reason in reasons if "on the way to micro-batch" in reason]
    assert result.chosen
    assert steps
    assert not any("expected gain" in step for step in steps)


def test_where_evaluation_alone_fails_its_hint_is_the_advice(search, world):
    usual = world.run

    def run(*asked):
        usual(*asked)
        return Verdict(Kind.CUDA_OOM_EVAL, duration_s=3.0)

    world.run = run
    result = search().run()
    assert result.chosen is None
    assert result.advice == Verdict(Kind.CUDA_OOM_EVAL).hint
