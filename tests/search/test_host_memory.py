import pytest
from optuna.storages import InMemoryStorage

from autobatch.search.samplers import core
from autobatch.settings import EVAL_BATCH, WORKERS, SearchSpace
from autobatch.verdict import Kind, Verdict

ARMS = {"precision": ("bf16", "fp32"), "gradient_checkpointing": (False, True)}
SPACE = SearchSpace({}, {**ARMS, WORKERS: (0, 1, 2, 4)}, 48)


@pytest.fixture(params=[Kind.HOST_OOM, Kind.HOST_OVER_LIMIT])
def short_of_host(request, world):
    """A host with room for one worker."""
    world.worker_gib, world.host_gib, world.host_kind = 10.0, 20.0, request.param
    return world


@pytest.fixture
def failing(world):
    """Make every probe that a rule holds of come to a verdict."""

    def failing(rule, kind=Kind.HOST_OVER_LIMIT):
        usual = world.run

        def run(configuration, plan, journal):
            verdict = usual(configuration, plan, journal)
            fails = rule(configuration, plan.purpose)
            return Verdict(kind, verdict.measurements, duration_s=5.0) if fails else verdict

        world.run = run

    return failing


@pytest.mark.usefixtures("short_of_host")
def test_host_memory_is_no_reason_to_leave_an_arm(search, optimum):
    result = search(space=SPACE).run()
    assert result.chosen.configuration[WORKERS] <= 1
    assert result.chosen.measurements.samples_per_s >= 0.97 * optimum


@pytest.mark.parametrize("kind", [Kind.HOST_OOM, Kind.HOST_OVER_LIMIT])
def test_the_workers_step_down_where_more_of_them_need_too_much(search, world, failing, kind):
    world.loader_batch_s = 2.5  # more than 6 workers are wanted
    failing(lambda configuration, _: configuration[WORKERS] > 6, kind)
    searched = {**ARMS, WORKERS: (0, 1, 2, 3, 4, 6, 8, 12)}
    chosen = search(space=SearchSpace({}, searched, 48)).run().chosen
    assert chosen.confirmed
    assert chosen.configuration[WORKERS] == 6
    assert max(configuration[WORKERS] for configuration, _ in world.tried) > 6


def test_a_search_that_ended_before_it_lowered_the_workers_does_so_when_it_goes_on(search, short_of_host, optimum):
    storage = InMemoryStorage()
    short_of_host.script = lambda n: KeyboardInterrupt() if n == 1 else None
    search(space=SPACE, storage=storage).run()
    short_of_host.script = lambda _: None
    result = search(space=SPACE, storage=storage).run()
    first, again = short_of_host.tried[0][0], short_of_host.tried[2][0]
    assert again == first.replace({WORKERS: 1})
    assert result.chosen.measurements.samples_per_s >= 0.97 * optimum


@pytest.mark.parametrize("kind", [Kind.HOST_OOM, Kind.HOST_OVER_LIMIT])
def test_a_confirmation_above_the_hosts_limit_is_repeated_with_fewer_workers(search, world, failing, kind):
    world.loader_batch_s = 0.5
    usual = search(space=SPACE).run().chosen.configuration
    failing(lambda configuration, purpose: purpose == "confirm" and configuration[WORKERS] >= usual[WORKERS], kind)
    chosen = search(space=SPACE).run().chosen
    fewer = [workers for workers in SPACE.searched[WORKERS] if workers < usual[WORKERS]]
    assert chosen.confirmed
    assert chosen.configuration == usual.replace({WORKERS: max(fewer)})


@pytest.mark.parametrize("sampler", ["structured", "grid"])
def test_what_cannot_be_confirmed_within_host_memory_is_not_chosen(search, failing, sampler):
    best = search(sampler_name=sampler).run().chosen.configuration
    failing(lambda configuration, purpose: purpose == "confirm" and core(configuration) == core(best))
    chosen = search(sampler_name=sampler).run().chosen
    assert chosen.confirmed
    assert core(chosen.configuration) != core(best)


def test_a_host_too_small_for_anything_is_not_called_a_full_card(search, world):
    world.host_gib, world.host_kind = 2.0, Kind.HOST_OVER_LIMIT
    result = search(space=SearchSpace({}, {**ARMS, EVAL_BATCH: (1, 2, 4)}, 48)).run()
    assert result.chosen is None
    assert "host memory" in result.advice
    assert "card" not in result.advice


@pytest.mark.usefixtures("short_of_host")
@pytest.mark.parametrize("sampler", ["random", "tpe", "grid"])
def test_other_samplers_go_on_with_fewer_workers(search, world, optimum, sampler):
    result = search(space=SPACE, sampler_name=sampler, budget_s=600.0).run()
    assert result.chosen.configuration[WORKERS] <= 1
    assert result.chosen.measurements.samples_per_s >= 0.9 * optimum
    workers = [configuration[WORKERS] for configuration, _ in world.tried]
    assert workers.count(2) == 1
