"""What a search does after a finalist proved unsafe: it looks again, with what it knows then."""

from dataclasses import replace

import pytest
from optuna.storages import InMemoryStorage

from autobatch.settings import EVAL_BATCH, MICRO_BATCH, WORKERS, SearchSpace
from autobatch.verdict import Kind, Verdict

GIB = 2**30
LORA = {"method": "lora", "precision": "bf16"}
NUMERICS = Verdict(Kind.NUMERICS, duration_s=5.0)
DISTURBED = Verdict(Kind.DISTURBED, duration_s=5.0)
PRECISIONS = SearchSpace({}, {"precision": ("bf16", "fp32"), MICRO_BATCH: (1, 2, 4), EVAL_BATCH: (1, 2, 4, 8)}, 48)


def too_large(verdict, evaluation_gib=30.0):
    """Return the verdict, ended where evaluation was above the limit."""
    train = verdict.measurements.device_peak_used_bytes
    peaks = {
        "train_device_peak_used_bytes": train,
        "eval_device_peak_used_bytes": round(evaluation_gib * GIB),
        "device_peak_used_bytes": round(evaluation_gib * GIB),
    }
    untimed = {"samples_per_s": None, "step_s": None, "micro_step_s": None}
    return Verdict(Kind.OVER_LIMIT, replace(verdict.measurements, **peaks, **untimed), duration_s=5.0)


@pytest.fixture
def probed(world):
    """Changes the verdicts of a purpose: `change(purpose, configuration, verdict)`."""

    def do(change):
        usual = world.run
        world.run = lambda c, plan, journal: change(plan.purpose, c, usual(c, plan, journal))

    return do


@pytest.fixture
def quantized(world):
    """A world of three quantizations, in which slow probes are cut short."""
    usual = world.run

    def run(configuration, plan, journal):
        verdict = usual(configuration, plan, journal)
        slow = (verdict.measurements.samples_per_s or 0.0) < (plan.hopeless_samples_per_s or 0.0)
        return replace(verdict, kind=Kind.HOPELESS) if plan.purpose == "probe" and verdict.ok and slow else verdict

    world.run, world.sample_gib = run, 0.5
    world.micro_step_s = lambda c: c.micro_batch / {"none": 10.0, "nf4": 4.6, "int8": 2.0}[c["quantization"]]

    def space(*quantizations, **more):
        searched = {"quantization": quantizations, MICRO_BATCH: (1, 2, 4), **more}
        return SearchSpace(LORA, searched, 48)

    return space


def test_what_a_confirmation_refuted_is_no_measure_of_what_is_left_to_gain(search, world, confirming):
    world.sample_gib = 0.3
    world.micro_step_s = lambda c: 0.05 * c.micro_batch * {"bf16": 1, "fp32": 4}[c["precision"]]
    confirming(lambda c, verdict: verdict if c["precision"] == "fp32" else NUMERICS)
    space = SearchSpace({}, {"precision": ("fp32", "bf16"), MICRO_BATCH: (1, 2, 4, 8)}, 48)
    assert search(space=space).run().chosen.configuration["precision"] == "fp32"


@pytest.mark.parametrize("sampler", ["structured", "grid"])
def test_a_slow_one_that_an_earlier_run_confirmed_does_not_end_it(search, quantized, confirming, sampler):
    confirming(lambda c, verdict: too_large(verdict) if c["quantization"] == "none" else verdict)
    space = quantized("int8", "none", "nf4")
    asked = {"space": space, "storage": InMemoryStorage(), "sampler_name": sampler}
    search(**asked, budget_s=16.0, own=space.at({"quantization": "int8"}, 1)).run()
    assert search(**asked).run().chosen.configuration["quantization"] == "nf4"


def test_what_was_cut_short_is_tried_again_even_where_something_slow_was_confirmed(
    search, world, quantized, confirming
):
    confirming(lambda c, verdict: NUMERICS if c["quantization"] == "none" else verdict)
    result = search(space=quantized("int8", "none", "nf4"), sampler_name="grid").run()
    assert result.chosen.configuration["quantization"] == "nf4"
    assert result.trials == result.probes == len(world.tried)


@pytest.mark.parametrize("budget_s", [40.0, 60.0, 80.0])
def test_no_time_is_held_back_for_what_is_ruled_out(search, quantized, confirming, budget_s):
    confirming(lambda c, verdict: too_large(verdict) if c["quantization"] == "none" else verdict)
    space = quantized("none", "nf4", **{WORKERS: (0, 2)})
    assert search(space=space, sampler_name="grid", budget_s=budget_s).run().chosen is not None


@pytest.mark.parametrize("mode", ["accident", "unconfirmed", "interrupted"])
def test_what_the_eval_stage_found_too_large_at_every_size_is_not_chosen(search, world, probed, mode):
    def change(purpose, configuration, verdict):
        if purpose == "confirm" and mode == "interrupted":
            raise KeyboardInterrupt
        if purpose == "confirm":
            return Verdict(Kind.KILLED, duration_s=5.0)
        return too_large(verdict) if purpose == "eval" and configuration["precision"] == "bf16" else verdict

    probed(change)
    world.sample_gib = 1.0
    chosen = search(space=PRECISIONS, confirmations=0 if mode == "unconfirmed" else 2).run().chosen
    assert chosen.configuration["precision"] == "fp32"


def test_where_no_eval_batch_fits_next_to_nothing_is_confirmed_and_the_smallest_is_told(
    search, world, probed, eval_space
):
    def change(purpose, configuration, verdict):
        needs = 30.0 + configuration[EVAL_BATCH]
        return too_large(verdict, needs) if purpose in {"eval", "confirm"} else verdict

    probed(change)
    result = search(space=eval_space).run()
    assert result.chosen is None
    assert "needs 31.0 GiB where 24.0 GiB are safe, at per_device_eval_batch_size 1." in result.advice
    assert not any(purpose == "confirm" for _, purpose in world.tried)


@pytest.mark.parametrize("sampler", ["structured", "grid"])
def test_a_disturbed_confirmation_is_not_taken_for_the_one_before(search, confirming, sampler):
    confirming(lambda c, verdict: too_large(verdict) if c["precision"] == "bf16" else DISTURBED)
    chosen = search(sampler_name=sampler).run().chosen
    assert chosen.configuration["precision"] == "fp32"
    assert not chosen.confirmed


@pytest.mark.parametrize("sampler", ["grid", "random"])
def test_what_is_ruled_out_is_not_probed(search, world, quantized, confirming, sampler):
    confirming(lambda c, verdict: too_large(verdict) if c["quantization"] == "none" else verdict)
    search(space=quantized("none", "nf4"), sampler_name=sampler, budget_s=40.0).run()
    tried = [configuration["quantization"] for configuration, _ in world.tried]
    last = max(n for n, (c, purpose) in enumerate(world.tried) if purpose == "confirm" and c["quantization"] == "none")
    assert "none" not in tried[last + 1 :]


def test_where_every_confirmation_fails_nothing_that_was_not_confirmed_is_chosen(search, world, confirming):
    confirming(lambda *_: NUMERICS)
    result = search(sampler_name="grid").run()
    assert result.chosen is None
    assert result.stopped == "confirmations fail one after the other"
    assert [purpose for _, purpose in world.tried].count("confirm") == 6


def test_accidents_refute_nothing(search, confirming):
    confirming(lambda *_: Verdict(Kind.KILLED, duration_s=5.0))
    chosen = search(sampler_name="grid").run().chosen
    assert chosen is not None
    assert not chosen.confirmed


@pytest.mark.parametrize("sampler", ["structured", "grid", "random"])
def test_where_the_loader_is_the_bound_compute_decides(search, world, sampler):
    """With 2 workers all are as fast: more of them are chosen afterwards."""
    times = {(False, 4): 0.20, (False, 8): 0.40, (True, 4): 0.255, (True, 8): 0.50}
    usual, world.sample_gib = world.verdict, 2.0
    world.micro_step_s = lambda c: times[bool(c["gradient_checkpointing"]), c.micro_batch]

    def verdict(configuration):
        world.loader_batch_s = 0.125 * configuration.micro_batch
        return usual(configuration)

    world.verdict = verdict
    searched = {"gradient_checkpointing": (False, True), MICRO_BATCH: (4, 8), WORKERS: (2, 4)}
    space = SearchSpace({"precision": "bf16"}, searched, 48)
    chosen = search(space=space, sampler_name=sampler).run().chosen
    assert chosen.confirmed
    assert not chosen.configuration["gradient_checkpointing"]
    assert chosen.configuration[WORKERS] == 4
