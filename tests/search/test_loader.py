from dataclasses import replace
from types import SimpleNamespace

import pytest

from autobatch.request import Limits
from autobatch.search.budget import Budget
from autobatch.search.facts import Fact
from autobatch.search.loader import LoaderStage, fewest, least_workers, most_workers
from autobatch.settings import WORKERS, Configuration, SearchSpace
from autobatch.verdict import Kind, Measurements, Verdict

GIB = 2**30


@pytest.mark.parametrize(
    ("batch_s", "step_s", "workers"),
    [(0.001, 0.1, 0), (0.05, 0.1, 1), (0.1, 0.1, 2), (0.35, 0.1, 4), (None, 0.1, None), (0.1, None, None)],
)
def test_the_least_that_keeps_the_device_busy(batch_s, step_s, workers):
    assert least_workers(Measurements(loader_batch_s=batch_s, micro_step_s=step_s)) == workers


def test_host_memory_bounds_the_workers():
    measured = Measurements(host_peak_bytes=10 * GIB, loader_worker_bytes=2 * GIB)
    assert most_workers(measured, 2, Limits(host_bytes=30 * GIB, host_fraction=0.8)) == 9
    assert most_workers(measured, 2, Limits(host_bytes=8 * GIB, host_fraction=0.5)) == 0


def test_without_a_measurement_there_is_no_bound():
    assert most_workers(Measurements(), 2, Limits(host_bytes=GIB)) == float("inf")


@pytest.mark.parametrize(
    ("waits", "workers"),
    [
        ({0: 0.2, 1: 0.019, 2: 0.0}, 1),
        ({0: 0.2, 1: 0.03, 2: 0.015}, 2),
        ({0: 0.2, 1: 0.023, 2: 0.018}, 1),
        ({0: 0.204, 1: 0.03, 2: 0.026, 3: 0.038}, 1),
        ({4: 0.5}, 4),
    ],
)
def test_where_none_keeps_it_busy_more_that_do_not_help_are_not_taken(waits, workers):
    assert fewest(waits) == workers


def test_workers_that_were_tried_before_are_not_tried_again():
    """Two workers are fast enough; none were found too slow by an earlier run."""
    two = Configuration({WORKERS: 2})
    base = Fact(0, two, "search", "probe", ran(samples_per_s=40.0, loader_batch_s=0.0, micro_step_s=1.0))
    none = Fact(1, two.replace({WORKERS: 0}), "loader", "probe", ran(samples_per_s=20.0))
    space = SearchSpace({}, {"precision": ("bf16",), WORKERS: (0, 1, 2)}, 8)
    desk, asked_for = SimpleNamespace(facts=[base, none], space=space, limits=Limits()), []
    desk.probe = lambda asked, *_: asked_for.append(asked) or replace(base, configuration=asked, stage="loader")
    assert LoaderStage(desk, Budget(900.0, lambda: 0.0)).run(base) in {1, 2}
    assert none.configuration not in asked_for


@pytest.mark.parametrize(("batch_s", "expected"), [(0.001, 0), (0.1, 1)])
def test_where_no_number_of_workers_is_enough_none_are_tried_if_that_should_cost_less(batch_s, expected):
    """Steps of 10 ms wait half of the time for one worker, and for two, as handing a batch over takes as long."""
    one = Configuration({WORKERS: 1})
    slow = ran(samples_per_s=50.0, loader_batch_s=batch_s, micro_step_s=0.01, loader_wait_fraction=0.5)
    quick = ran(samples_per_s=90.0, loader_batch_s=batch_s, micro_step_s=0.01, loader_wait_fraction=0.1)
    space = SearchSpace({}, {"precision": ("bf16",), WORKERS: (0, 1, 2)}, 8)
    desk = SimpleNamespace(facts=[Fact(0, one, "search", "probe", slow)], space=space, limits=Limits())
    desk.probe = lambda asked, *_: Fact(1, asked, "loader", "probe", slow if asked[WORKERS] else quick)
    assert LoaderStage(desk, Budget(900.0, lambda: 0.0)).run(desk.facts[0]) == expected


def test_what_the_search_measured_with_other_workers_counts():
    own = Configuration({WORKERS: 0})
    quick = ran(samples_per_s=90.0, loader_batch_s=0.001, micro_step_s=0.01, loader_wait_fraction=0.0)
    slow = ran(samples_per_s=50.0, loader_batch_s=0.001, micro_step_s=0.01, loader_wait_fraction=0.0)
    facts = [Fact(0, own, "search", "probe", quick), Fact(1, own.replace({WORKERS: 2}), "search", "probe", slow)]
    space = SearchSpace({}, {"precision": ("bf16",), WORKERS: (0, 1, 2)}, 8)
    desk = SimpleNamespace(facts=facts, space=space, limits=Limits())
    desk.probe = lambda asked, *_: Fact(2, asked, "loader", "probe", slow)
    assert LoaderStage(desk, Budget(900.0, lambda: 0.0)).run(facts[1]) == 0


def test_workers_known_to_be_too_few_are_climbed_from():
    """A person's own one worker is not enough; the prediction was one."""
    figures = {"loader_batch_s": 0.009, "micro_step_s": 0.01}
    own = Configuration({WORKERS: 1})
    starved = ran(samples_per_s=50.0, loader_wait_fraction=0.5, **figures)
    busy = ran(samples_per_s=100.0, loader_wait_fraction=0.0, **figures)
    base = ran(samples_per_s=40.0, loader_wait_fraction=0.6, **figures)
    facts = [Fact(0, own, "search", "probe", starved), Fact(1, own.replace({WORKERS: 0}), "search", "probe", base)]
    space = SearchSpace({}, {"precision": ("bf16",), WORKERS: (0, 1, 2, 4)}, 8)
    asked_for = []
    desk = SimpleNamespace(facts=facts, space=space, limits=Limits())
    desk.probe = lambda asked, *_: asked_for.append(asked[WORKERS]) or Fact(2, asked, "loader", "probe", busy)
    assert LoaderStage(desk, Budget(900.0, lambda: 0.0)).run(facts[1]) == 2
    assert asked_for == [2]


@pytest.mark.parametrize(
    ("first", "again", "expected", "probes"), [(0.03, 0.0, 2, 3), (0.03, 0.03, 4, 3), (0.3, 0.0, 4, 2)]
)
def test_the_expected_number_is_given_up_only_where_it_falls_short_clearly_or_twice(first, again, expected, probes):
    """Two workers should be enough; a busy host made one probe of them look slower than four."""
    figures = {"loader_batch_s": 0.018, "micro_step_s": 0.01}
    waits = {2: [first, again], 4: [0.0]}
    base = Fact(0, Configuration({WORKERS: 0}), "search", "probe", ran(samples_per_s=40.0, **figures))
    space = SearchSpace({}, {"precision": ("bf16",), WORKERS: (0, 2, 4)}, 8)
    facts = [base]

    def probe(asked, *_):
        wait = waits[asked[WORKERS]].pop(0)
        verdict = ran(samples_per_s=100 * (1 - wait), loader_wait_fraction=wait, **figures)
        facts.append(Fact(len(facts), asked, "loader", "probe", verdict))
        return facts[-1]

    desk = SimpleNamespace(facts=facts, space=space, limits=Limits(), probe=probe)
    assert LoaderStage(desk, Budget(900.0, lambda: 0.0)).run(base) == expected
    assert len(facts) == 1 + probes


@pytest.mark.parametrize(("batch_s", "expected"), [(0.07, 8), (0.2, 12)])
def test_steps_that_took_longer_are_not_held_against_workers_that_should_be_enough(batch_s, expected):
    """An H200's figures: a tiny model's steps differed by a quarter between probes, and the waits not at all."""
    figures = {"loader_batch_s": batch_s, "micro_step_s": 0.0165}
    seen = {8: ran(samples_per_s=483.0, loader_wait_fraction=0.029, **figures)}
    seen[12] = ran(samples_per_s=624.0, loader_wait_fraction=0.0285, loader_batch_s=0.07, micro_step_s=0.0128)
    base = ran(samples_per_s=221.0, loader_batch_s=0.07, micro_step_s=0.0165, loader_wait_fraction=0.5)
    facts = [Fact(0, Configuration({WORKERS: 2}), "search", "probe", base)]
    space = SearchSpace({}, {"precision": ("bf16",), WORKERS: (0, 2, 4, 8, 12)}, 8)
    desk = SimpleNamespace(facts=facts, space=space, limits=Limits())
    desk.probe = lambda asked, *_: Fact(1, asked, "loader", "probe", seen[asked[WORKERS]])
    assert LoaderStage(desk, Budget(900.0, lambda: 0.0)).run(facts[0]) == expected


def ran(**figures):
    return Verdict(Kind.OK, Measurements(**figures), duration_s=5.0)
