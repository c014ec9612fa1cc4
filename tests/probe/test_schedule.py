"""What each purpose of a probe does."""

import time
from dataclasses import replace

import pytest

from autobatch.probe import schedule
from autobatch.probe.timing import Estimate
from autobatch.request import Limits, Plan, ProbeRequest
from autobatch.settings import EXPANDABLE, Configuration


@pytest.fixture
def asked(workload):
    """Make a request of a purpose."""

    def make(purpose, micro_batch=4, accumulation=8, **plan):
        configuration = Configuration(per_device_train_batch_size=micro_batch, gradient_accumulation_steps=accumulation)
        return ProbeRequest(workload("bart"), configuration, Plan(purpose, **plan), Limits(), "cpu", "/nowhere")

    return make


@pytest.mark.parametrize(
    ("purpose", "evaluates", "times", "accumulation"),
    [("probe", False, True, 2), ("eval", True, False, 2), ("confirm", True, True, 8), ("inference", False, False, 2)],
)
def test_purposes(purpose, evaluates, times, accumulation, asked):
    request = asked(purpose)
    parts = schedule.parts(request, time.monotonic())

    assert (parts.evaluates, parts.times) == (evaluates, times)
    assert schedule.accumulation(request) == accumulation
    assert (schedule.typical_steps(request) > 0) is times


def test_timing_ends_before_the_probe_is_stopped(asked):
    parts = schedule.parts(asked("probe", max_seconds=100.0), started=1000.0)

    assert parts.deadline == 1080.0


def test_only_a_confirmation_with_time_goes_on_where_the_machine_is_unsteady(asked):
    unsteady = Estimate(0.1, 0.01, 400)

    def enough(purpose, elapsed_s, **plan):
        return schedule.parts(asked(purpose, **plan), 0.0).rule.enough(unsteady, elapsed_s)

    assert enough("probe", 2.0)
    assert not enough("confirm", 50.0, max_seconds=300.0)
    assert enough("confirm", 60.0, max_seconds=300.0)
    assert not enough("confirm", 30.0, max_seconds=60.0)
    assert enough("confirm", 36.0, max_seconds=60.0)


@pytest.mark.parametrize(
    ("purpose", "device", "allocator", "longest_again", "repeats"),
    [
        ("probe", "cuda:0", EXPANDABLE, False, False),
        ("probe", "cuda:0", "", True, False),
        ("probe", "cpu", EXPANDABLE, True, False),
        ("confirm", "cuda:0", EXPANDABLE, True, True),
        ("confirm", "cuda:0", "", True, False),
        ("confirm", "cpu", EXPANDABLE, True, False),
        ("eval", "cuda:0", "", False, False),
    ],
)
def test_what_depends_on_how_memory_grows(asked, *, purpose, device, allocator, longest_again, repeats):
    request = asked(purpose)
    request = replace(request, device=device, configuration=request.configuration.replace(pytorch_alloc_conf=allocator))
    parts = schedule.parts(request, 0.0)

    assert parts.ends_longest is longest_again
    assert parts.repeats is repeats
    assert (parts.warm_up > 1) is repeats


def test_hopeless_is_judged_by_the_micro_step(asked):
    assert schedule.hopeless_micro_s(asked("probe", hopeless_samples_per_s=2.0)) == 2.0
    assert schedule.hopeless_micro_s(asked("probe")) is None
