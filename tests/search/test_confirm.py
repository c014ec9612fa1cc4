"""The last stage: finalists in fresh processes."""

from dataclasses import replace

import pytest
from optuna.storages import InMemoryStorage

from autobatch.request import Limits
from autobatch.search.samplers import core
from autobatch.search.seams import NullLedger, StopSearch
from autobatch.settings import EVAL_BATCH, MICRO_BATCH, WORKERS, SearchSpace
from autobatch.verdict import HINTS, Kind, Verdict

GIB = 2**30


class Held(NullLedger):
    def __init__(self, configuration):
        self._configuration = configuration

    def quarantined(self, _):
        return [self._configuration]


def over(world, configuration, evaluation_gib):
    """Return an over-limit verdict with the figures that tell training from evaluation."""
    train = world.used_gib(configuration)
    measured = replace(
        world.verdict(configuration).measurements,
        device_peak_used_bytes=round(max(train, evaluation_gib) * GIB),
        train_device_peak_used_bytes=round(train * GIB),
        eval_device_peak_used_bytes=round(evaluation_gib * GIB),
    )
    return Verdict(Kind.OVER_LIMIT, measured, duration_s=5.0)


def test_a_confirmation_whose_evaluation_is_too_large_is_repeated_with_a_smaller_eval_batch(search, world, eval_space):
    usual = world.run

    def run(configuration, plan, journal):
        verdict = usual(configuration, plan, journal)
        too_large = plan.purpose == "confirm" and configuration[EVAL_BATCH] > 4
        return over(world, configuration, 30.0) if too_large else verdict

    expected = search(space=eval_space).run().chosen.configuration
    world.run = run
    chosen = search(space=eval_space).run().chosen
    assert chosen.confirmed
    assert chosen.configuration[EVAL_BATCH] == 4
    assert chosen.configuration.micro_batch == expected.micro_batch
    assert chosen.configuration.arm == expected.arm


def test_a_confirmation_whose_training_is_too_large_goes_on_to_the_next_smaller_micro_batch(search, world, space):
    usual = world.run
    best = search().run().chosen.configuration

    def run(configuration, plan, journal):
        verdict = usual(configuration, plan, journal)
        too_large = configuration.arm == best.arm and configuration.micro_batch >= best.micro_batch
        return over(world, configuration, 1.0) if plan.purpose == "confirm" and too_large else verdict

    world.run = run
    chosen = search().run().chosen
    below = [batch for batch in space.micro_batches if batch < best.micro_batch]
    assert chosen.confirmed
    assert chosen.configuration.arm == best.arm
    assert chosen.configuration.micro_batch == max(below)


@pytest.mark.parametrize("sampler", ["structured", "grid"])
def test_what_evaluates_like_a_finalist_that_was_too_large_is_not_confirmed_either(search, world, confirming, sampler):
    """In fp32, which is slower, evaluation fits; the eval batch is held."""
    confirming(lambda c, verdict: over(world, c, 30.0) if c["precision"] == "bf16" else verdict)

    result = search(sampler_name=sampler).run()

    confirmed = [c["precision"] for c, purpose in world.tried if purpose == "confirm"]
    assert confirmed == ["bf16", "fp32"]
    assert result.chosen.confirmed
    assert result.chosen.configuration["precision"] == "fp32"
    assert result.runner_up is None or result.runner_up.configuration["precision"] == "fp32"


def test_the_best_of_what_is_left_is_searched_for_then(search, world, confirming):
    confirming(lambda c, verdict: over(world, c, 30.0) if c["precision"] == "bf16" else verdict)

    chosen = search().run().chosen.configuration

    left = [c for c in search().space.grid() if c["precision"] == "fp32"]
    assert world.throughput(chosen) >= 0.97 * max(map(world.throughput, left))


@pytest.mark.parametrize("sampler", ["structured", "grid", "random"])
def test_what_was_cut_short_beside_a_finalist_that_was_too_large_is_tried_again(search, world, confirming, sampler):
    """In bf16 it is four times as fast."""
    usual = world.run

    def run(configuration, plan, journal):
        verdict = usual(configuration, plan, journal)
        slow = (verdict.measurements.samples_per_s or 0.0) < (plan.hopeless_samples_per_s or 0.0)
        return replace(verdict, kind=Kind.HOPELESS) if verdict.ok and slow else verdict

    world.run = run
    confirming(lambda c, verdict: over(world, c, 30.0) if c["precision"] == "bf16" else verdict)
    world.sample_gib, world.micro_step_s = 0.5, lambda c: (0.04 if c["precision"] == "bf16" else 0.16) * c.micro_batch

    result = search(sampler_name=sampler).run()

    assert result.chosen.confirmed
    assert result.chosen.configuration["precision"] == "fp32"


@pytest.mark.parametrize("sampler", ["structured", "grid"])
def test_where_nothing_evaluates_the_advice_says_so(search, world, confirming, sampler):
    confirming(lambda c, _: over(world, c, 30.0))
    result = search(sampler_name=sampler).run()
    assert result.chosen is None
    assert "evaluation needs 30.0 GiB where 24.0 GiB are safe, at per_device_eval_batch_size 8." in result.advice


def broken_in_confirmation(world, monkeypatch, kind, broken=lambda configuration: True):  # noqa: ARG005 - all of them
    run = type(world).run

    def ends(self, configuration, plan, journal):
        if plan.purpose == "confirm" and broken(configuration):
            self.tried.append((configuration, plan.purpose))
            self.now += 5.0
            return Verdict(kind, duration_s=5.0)
        return run(self, configuration, plan, journal)

    monkeypatch.setattr(type(world), "run", ends)


def test_what_fails_when_it_is_confirmed_is_not_chosen(search, world, monkeypatch):
    best = search().run().chosen.configuration
    world.tried.clear()
    broken_in_confirmation(world, monkeypatch, Kind.NUMERICS, lambda c: c.micro_batch == best.micro_batch)

    chosen = search().run().chosen

    assert chosen.confirmed
    assert chosen.configuration.micro_batch != best.micro_batch


def test_where_no_confirmation_runs_nothing_is_chosen_and_the_reason_is_told(search, world, monkeypatch):
    broken_in_confirmation(world, monkeypatch, Kind.USER_ERROR)

    result = search().run()

    assert result.chosen is None
    assert "user_error" in result.stopped
    assert result.advice == HINTS[Kind.USER_ERROR]
    assert [purpose for _, purpose in world.tried].count("confirm") == 2


def test_a_confirmation_for_which_the_time_was_short_leaves_the_probes_figures(search, world, monkeypatch):
    broken_in_confirmation(world, monkeypatch, Kind.TIMEOUT)

    chosen = search().run().chosen

    assert chosen is not None
    assert not chosen.confirmed


def rivals(world, again):
    """Return throughputs of which micro-batch 6 has the best, and 4 the next at first, and `again` later."""

    def throughput(configuration):
        if configuration["gradient_checkpointing"] or configuration["precision"] != "bf16":
            return 5.0
        before = [one.micro_batch for one, _ in world.tried[:-1]]
        return {6: 10.0, 4: again if 4 in before else 9.7}.get(configuration.micro_batch, 5.0)

    return throughput


@pytest.mark.parametrize(("again", "chosen", "confirmed"), [(9.7, 6, [6]), (12.0, 4, [6, 4])])
def test_a_rival_is_probed_shortly_and_confirmed_only_where_it_proves_better(search, world, again, chosen, confirmed):
    """Micro-batch 6 is measured as 10 samples/s; 4 as 9.7 at first, and later as `again`."""

    world.throughput = rivals(world, again)
    result = search(sampler_name="grid", tie=0.0).run()

    last = world.tried[len(search().space.grid()) :]
    assert result.chosen.configuration.micro_batch == chosen
    assert result.chosen.confirmed
    assert [one.micro_batch for one, purpose in last if purpose == "confirm"] == confirmed
    assert [one.micro_batch for one, purpose in last if purpose == "probe"] == [4]
    assert result.probes == len(world.tried)


@pytest.mark.parametrize(("again", "confirmed"), [(7.0, [6]), (9.9, [6, 4])])
def test_after_a_confirmation_that_refutes_what_is_best_by_one_probe_is_probed_before_it_is_confirmed(
    search, world, confirming, again, confirmed
):
    """Micro-batch 6 is measured as 10 samples/s, and as 6 when it is confirmed; 4 as 9.7, and later as `again`."""

    def refuted(configuration, verdict):
        rate = 6.0 if configuration.micro_batch == 6 else verdict.measurements.samples_per_s
        return replace(verdict, measurements=replace(verdict.measurements, samples_per_s=rate))

    world.throughput = rivals(world, again)
    confirming(refuted)
    search(sampler_name="grid", tie=0.0).run()

    last = world.tried[len(search().space.grid()) :]
    assert [(one.micro_batch, purpose) for one, purpose in last][:2] == [(6, "confirm"), (4, "probe")]
    assert [one.micro_batch for one, purpose in last if purpose == "confirm"] == confirmed


def test_where_time_is_short_what_a_confirmation_refuted_does_not_stand_before_what_was_probed_alone(
    search, world, confirming
):
    """Micro-batch 6 is measured as 10 samples/s, and as 7.5 when it is confirmed: the end of the budget."""

    def refuted(_, verdict):
        world.now += 1000.0
        return replace(verdict, measurements=replace(verdict.measurements, samples_per_s=7.5))

    def throughput(configuration):
        plain = configuration["precision"] == "bf16" and not configuration["gradient_checkpointing"]
        return {6: 10.0, 4: 9.7}.get(configuration.micro_batch, 5.0) if plain else 5.0

    world.throughput = throughput
    confirming(refuted)
    chosen = search(sampler_name="grid", budget_s=900.0).run().chosen

    assert chosen.configuration.micro_batch == 4
    assert not chosen.confirmed


def test_of_two_that_are_as_good_one_is_confirmed_though_that_shows_a_little_more_memory(search, world):
    usual = world.run

    def run(configuration, plan, journal):
        verdict = usual(configuration, plan, journal)
        peak = round(verdict.measurements.device_peak_used_bytes * (1.0002 if plan.purpose == "confirm" else 1.0))
        return replace(verdict, measurements=replace(verdict.measurements, device_peak_used_bytes=peak))

    world.run, world.card_gib = run, 200.0
    world.micro_step_s = lambda configuration: 0.03 + 0.06 * configuration.micro_batch
    search(sampler_name="grid", tie=0.02).run()

    assert [purpose for _, purpose in world.tried].count("confirm") == 1


def test_of_two_that_are_as_good_one_is_confirmed_where_evaluation_takes_more_than_training(search, world):
    usual = world.run

    def run(configuration, plan, journal):
        verdict = usual(configuration, plan, journal)
        train = verdict.measurements.device_peak_used_bytes
        most = max(train, 90 * GIB) if plan.purpose in {"eval", "confirm"} else train
        seen = replace(verdict.measurements, device_peak_used_bytes=most, train_device_peak_used_bytes=train)
        return replace(verdict, measurements=seen)

    world.run, world.card_gib = run, 200.0
    world.micro_step_s = lambda configuration: 0.0005 + 0.06 * configuration.micro_batch
    chosen = search(sampler_name="grid", tie=0.02).run().chosen.configuration

    assert [purpose for _, purpose in world.tried].count("confirm") == 1
    assert world.used_gib(chosen) == min(world.used_gib(configuration) for configuration, _ in world.tried)


@pytest.mark.parametrize("kind", [Kind.NUMERICS, Kind.THREADS_EXHAUSTED])
def test_what_another_configuration_may_mend_is_no_fault_of_the_whole(search, world, monkeypatch, kind):
    broken_in_confirmation(world, monkeypatch, kind, lambda configuration: configuration.micro_batch > 3)

    chosen = search(sampler_name="grid").run().chosen

    assert chosen.confirmed
    assert chosen.configuration.micro_batch <= 3


def test_a_confirmation_may_take_as_long_as_its_steps_are(search, world):
    """A short probe times micro-steps, a confirmation whole steps of two minutes."""
    usual, asked = world.verdict, {}

    def run(configuration, plan, journal):  # noqa: ARG001 - the seam
        asked[plan.purpose] = plan.max_seconds
        verdict = usual(configuration)
        return replace(verdict, measurements=replace(verdict.measurements, step_s=120.0), duration_s=20.0)

    world.run = run
    search().run()
    assert asked["confirm"] == 20.0 + 4 * 120.0


def test_what_the_machine_died_of_when_it_was_confirmed_is_not_confirmed_again(search, world):
    space = SearchSpace({}, {"precision": ("bf16",), "gradient_checkpointing": (False, True), WORKERS: (0, 1, 2)}, 48)
    storage, usual, confirmed = InMemoryStorage(), world.run, []

    def run(configuration, plan, journal):
        confirmed.extend([configuration] * (plan.purpose == "confirm"))
        if plan.purpose == "confirm" and len(confirmed) == 2:
            raise SystemExit
        fails = plan.purpose == "confirm" and len(confirmed) == 1
        return Verdict(Kind.HOST_OOM, duration_s=5.0) if fails else usual(configuration, plan, journal)

    world.run, world.loader_batch_s = run, 0.3
    with pytest.raises(SystemExit):
        search(space=space, storage=storage).run()
    result = search(space=space, storage=storage, ledger=Held(confirmed[1])).run()

    assert result.chosen.confirmed
    assert core(confirmed[1]) not in {core(configuration) for configuration in confirmed[2:]}


def test_on_a_cpu_one_that_the_host_is_too_small_for_gives_way_to_the_next_smaller(search, world):
    usual = world.run
    world.sample_gib, world.worker_gib = 0.3, 0.01
    world.micro_step_s = lambda one: (1.0 + 0.06 * one.micro_batch) * (1.0 if one["precision"] == "bf16" else 3.0)

    def run(configuration, plan, journal):
        too_large = plan.purpose == "confirm" and configuration.micro_batch >= 24
        return Verdict(Kind.HOST_OOM, duration_s=5.0) if too_large else usual(configuration, plan, journal)

    world.run = run
    space = SearchSpace({}, {"precision": ("bf16", "fp32"), "gradient_checkpointing": (False, True)}, 48)
    chosen = search(space=space, limits=Limits(24 * GIB, 1.0, 24 * GIB)).run().chosen
    assert chosen.confirmed
    assert chosen.configuration.micro_batch == 16


def needing(world, factor):
    """Return a change of verdicts: so much more memory, which may be over the limit."""

    def change(configuration, verdict):
        peak = round(world.used_gib(configuration) * factor * GIB)
        kind = Kind.OVER_LIMIT if peak > world.card_gib * GIB else verdict.kind
        return replace(verdict, kind=kind, measurements=replace(verdict.measurements, device_peak_used_bytes=peak))

    return change


def confirmed(world):
    return [configuration.micro_batch for configuration, purpose in world.tried if purpose == "confirm"]


def test_where_all_finalists_need_too_much_what_was_not_worth_a_probe_is_tried(search, world, workload, confirming):
    """Checkpointing cannot win beside what fits in a short probe, and is all that fits in the end."""
    world.card_gib, world.fixed_gib, world.effective_batch = 20.4, 17.0, 8
    confirming(needing(world, 1.04))
    space = SearchSpace({}, {"precision": ("bf16",), "gradient_checkpointing": (False, True), MICRO_BATCH: (1,)}, 8)
    result = search(space=space, workload=replace(workload, effective_batch=8)).run()
    assert result.chosen.confirmed
    assert result.chosen.configuration["gradient_checkpointing"]


@pytest.fixture
def nearly(world, workload, confirming):
    """Micro-batches of one arm whose memory grows little, two of which are too large by a confirmation's more."""
    peaks = {1: 17.0, 2: 17.1, 4: 17.3, 8: 17.7, 16: 18.9, 32: 20.3, 64: 22.0}
    rates = {1: 0.5, 2: 0.7, 4: 0.85, 8: 0.94, 16: 0.99, 32: 1.0, 64: 1.0}
    world.card_gib, world.effective_batch = 20.4, 64
    world.used_gib = lambda configuration: peaks[configuration.micro_batch]
    world.micro_step_s = lambda configuration: 0.02 * configuration.micro_batch / rates[configuration.micro_batch]
    confirming(needing(world, 1.085))
    space = SearchSpace({}, {"precision": ("bf16",)}, 64)
    return {"space": space, "workload": replace(workload, effective_batch=64), "sampler_name": "grid"}


def test_what_needs_more_than_what_was_too_large_is_not_confirmed_and_nothing_is_twice(search, world, nearly):
    result = search(**nearly).run()
    assert result.chosen.configuration.micro_batch == 8
    assert confirmed(world) == [16, 8]


def test_what_needs_more_than_what_was_too_large_is_not_chosen_when_interrupted(search, world, nearly):
    world.script = lambda number: KeyboardInterrupt() if number == 8 else None
    assert search(**nearly).run().chosen.configuration.micro_batch == 8


def test_what_an_earlier_run_confirmed_does_not_stand_before_what_is_far_better(search, confirming):
    storage = InMemoryStorage()
    slow = search(storage=storage, budget_s=16.0).run().chosen

    def stop(*_):
        raise StopSearch

    confirming(stop)
    cut_off = search(storage=storage).run()
    assert cut_off.chosen.measurements.samples_per_s > 1.1 * slow.measurements.samples_per_s
    assert not cut_off.chosen.confirmed


def test_a_finished_search_that_is_stopped_at_once_the_next_time_keeps_its_answer(search, world, workload):
    rates = {8: 0.94, 16: 0.99, 32: 1.0}
    world.effective_batch, world.sample_gib = 64, 0.3
    world.micro_step_s = lambda configuration: 0.02 * configuration.micro_batch / rates[configuration.micro_batch]
    space = SearchSpace({}, {"precision": ("bf16",), MICRO_BATCH: (8, 16, 32)}, 64)
    asked = {"space": space, "workload": replace(workload, effective_batch=64), "sampler_name": "grid"}
    asked["storage"] = InMemoryStorage()
    first = search(**asked).run().chosen

    def stopped():
        raise StopSearch

    again = search(**asked, gate=stopped).run().chosen
    assert first.confirmed
    assert again.configuration == first.configuration


@pytest.mark.parametrize("sampler", ["grid", "structured"])
def test_where_confirmations_are_slower_than_probes_they_do_not_follow_in_turn(
    search, world, workload, confirming, sampler
):
    def slower(_, verdict):
        seen = verdict.measurements
        names = ("micro_step_s", "optimizer_step_s", "step_s")
        longer = {name: 1.15 * getattr(seen, name) for name in names}
        return replace(verdict, measurements=replace(seen, **longer, samples_per_s=seen.samples_per_s / 1.15))

    world.effective_batch, world.sample_gib = 720, 0.05
    world.micro_step_s = lambda configuration: 0.002 + 0.06 * configuration.micro_batch
    confirming(slower)
    asked = {"space": SearchSpace({}, {"precision": ("bf16",)}, 720), "storage": InMemoryStorage()}
    asked |= {"workload": replace(workload, effective_batch=720), "sampler_name": sampler}
    for _ in range(3):
        search(**asked).run()
    assert len(confirmed(world)) <= 8  # six in each run, once
