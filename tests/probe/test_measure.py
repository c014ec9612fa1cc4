from types import SimpleNamespace

import pytest

from autobatch.probe.device import Peak
from autobatch.probe.measure import memory, training_peak, waiting_s
from autobatch.request import Limits, Plan, ProbeRequest
from autobatch.settings import WORKERS, Configuration


@pytest.fixture
def waiting(workload):
    """Seconds that a step of 4 micro-batches, made in 0.5 s each, waits for one worker, of 1.2 s of compute."""

    def waiting(waits):
        batches = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4, WORKERS: 1}
        request = ProbeRequest(workload("bart"), Configuration(batches), Plan("confirm"), Limits(), "cpu", "/nowhere")
        recorder = SimpleNamespace(waits=waits, wait_s=sum(waits) / max(1, len(waits)))
        material = SimpleNamespace(clock=SimpleNamespace(batch_s=0.5))
        return waiting_s(SimpleNamespace(request=request, recorder=recorder, material=material), 1.2)

    return waiting


def test_whole_steps_that_were_timed_tell_what_they_waited(waiting):
    assert waiting([0.3, 0.5]) == pytest.approx(0.4)


def test_where_none_was_timed_whole_the_workers_speed_tells_it(waiting):
    assert 4 * 0.5 - 1.2 <= waiting([]) < 4 * 0.5


def peak_of(reserved, allocated, context=100, retries=0):
    return Peak(reserved + context, allocated, reserved, context, retries)


@pytest.mark.parametrize(("worst", "last"), [(1700, 1500), (1500, 1700)])
def test_where_the_longest_batch_was_met_twice_a_rare_layout_of_one_does_not_count(worst, last):
    found = training_peak(peak_of(worst, 1400), peak_of(last, 1401, context=120), gives_back=True)
    assert (found.used, found.reserved, found.context) == (1620, 1500, 120)


def test_where_it_was_not_met_again_the_higher_peak_counts():
    assert training_peak(peak_of(1700, 1400), peak_of(1500, 1300), gives_back=True).reserved == 1700
    assert training_peak(peak_of(1700, 1400), peak_of(1800, 1500), gives_back=True).reserved == 1800


def test_where_the_allocator_cannot_give_gaps_back_the_higher_peak_counts():
    assert training_peak(peak_of(1700, 1400), peak_of(1500, 1400), gives_back=False).reserved == 1700


def test_where_nothing_is_known_of_allocated_memory_the_higher_peak_counts():
    assert training_peak(Peak(5), Peak(7), gives_back=True) == Peak(7)
    assert training_peak(Peak(8), Peak(7), gives_back=True) == Peak(8)


def test_the_peak_of_all_is_that_of_training_or_of_evaluation():
    def conductor(evaluation):
        return SimpleNamespace(train_peak=peak_of(1700, 1400), eval_peak=evaluation, parts=SimpleNamespace(times=True))

    less, more = (memory(conductor(peak_of(n, n - 50)), peak_of(1500, 1400), gives_back=True) for n in (900, 1900))
    assert (less["device_peak_used_bytes"], less["train_device_peak_used_bytes"]) == (1600, 1600)
    assert less["device_peak_reserved_bytes"] == 1500
    assert (more["device_peak_used_bytes"], more["train_device_peak_used_bytes"]) == (2000, 1600)
    assert more["eval_device_peak_used_bytes"] == 2000
