import json
import math

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from autobatch import attributes
from autobatch.errors import UsageError
from autobatch.request import Limits
from autobatch.search import facts
from autobatch.search.outlook import Outlook
from autobatch.search.seams import NullEntry, NullLedger, NullObserver
from autobatch.settings import EVAL_BATCH, SearchSpace
from autobatch.verdict import Kind, Verdict
from autobatch.workload.spec import Model, Workload

GIB = 2**30


class Closing(NullEntry):
    def __init__(self):
        self.ended = []

    def finish(self, verdict):
        self.ended.append(verdict.kind)


class Keeping(NullLedger):
    def __init__(self):
        self.entries = []

    def begin(self, *_):
        self.entries.append(Closing())
        return self.entries[-1]


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


def test_within_the_tie_less_memory_wins(search, world):
    world.sample_gib = 0.3  # everything fits: from 12 upwards throughput differs by less than 2 %
    tied = search().run()
    fastest = search(tie=0.0).run()
    assert tied.chosen.measurements.device_peak_used_bytes <= fastest.chosen.measurements.device_peak_used_bytes
    assert tied.chosen.measurements.samples_per_s >= 0.98 * fastest.chosen.measurements.samples_per_s


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


def test_the_throughput_is_that_of_all_devices(search):
    one = search(space=SearchSpace({}, {"precision": ("bf16",)}, 48)).run().chosen
    two = search(space=SearchSpace({}, {"precision": ("bf16",)}, 96, devices=2)).run().chosen

    assert two.configuration == one.configuration
    assert two.measurements.samples_per_s == pytest.approx(2 * one.measurements.samples_per_s)


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
