"""When a probe's training goes on to its next part, and when it ends."""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from transformers import TrainerControl

from autobatch.probe.conductor import Conductor, Parts
from autobatch.probe.device import Peak
from autobatch.probe.order import WORST_STEPS
from autobatch.probe.timing import Estimate, Rule

RULE = Rule(0.02, shortest_s=1.0, longest_s=2.0, fewest=2)


class Recorder:
    """What is told instead of measured."""

    def __init__(self, timing_since, elapsed_s):
        self.timing_since, self.elapsed_s, self.excluded_s = timing_since, elapsed_s, 0.0
        self.optimizer_steps, self.costs, self.waits = 0, (1.0,), [9.0, 9.0, 0.0]

    def estimate(self):
        return Estimate(0.5, 0.001, 4)

    def begin_timing(self):
        self.timing_since = time.perf_counter()

    def optimizer_step(self):
        self.optimizer_steps += 1

    def exclude(self, seconds):
        self.excluded_s += seconds


@pytest.fixture
def conducted():
    """A conductor whose typical micro-steps have begun, and what it tells."""

    def make(*, warm_up=1, repeats=False, batch_s=None, timing_since=None, elapsed_s=0.0):
        silent = SimpleNamespace(**dict.fromkeys(("beat", "utilization", "energy_j", "synchronize"), lambda: None))
        silent.enter = lambda _: None
        recorder = Recorder(timing_since, elapsed_s)
        parts = Parts(
            evaluates=False,
            times=True,
            warm_up=warm_up,
            repeats=repeats,
            workers=2,
            ends_longest=False,
            rule=RULE,
            deadline=float("inf"),
        )
        sampler = SimpleNamespace(settle=lambda: (2.0, 3.0))
        conductor = Conductor(parts, recorder, silent, silent, sampler, SimpleNamespace(batch_s=batch_s))
        conductor._begin_typical(TrainerControl())
        return conductor, recorder

    return make


def after(conductor, step, *, substep=True):
    """End a micro-step of the step after that, or the step itself; tell whether training ends."""
    control = TrainerControl()
    ended = conductor.on_substep_end if substep else conductor.on_step_end
    ended(None, SimpleNamespace(global_step=step), control)
    return control.should_training_stop


def test_an_evaluation_that_a_script_asks_for_is_not_the_probes(conducted):
    conductor, recorder = conducted()
    told = []
    conductor.meter.peak, conductor.meter.part_over = lambda: told.append("peak") or 1, lambda: None
    conductor.parts = replace(conductor.parts, evaluates=True)

    def evaluate():
        recorder.evaluation_since = 0.0
        conductor.on_prediction_step()
        conductor.on_evaluate(None, None, TrainerControl())

    conductor.progress.phase = "worst_case"
    evaluate()
    assert (told, conductor.eval_batches) == ([], [])
    conductor._end_worst_case(TrainerControl())
    assert recorder.evaluation_since is None
    conductor.progress.phase = "eval"
    evaluate()
    evaluate()
    assert (told, len(conductor.eval_batches)) == (["peak", "peak"], 1)


@pytest.mark.parametrize(("safe_share", "used", "ends"), [(0.8, 90, True), (0.8, 70, False), (None, 90, False)])
def test_where_evaluation_takes_more_memory_than_is_safe_nothing_is_timed(conducted, safe_share, used, ends):
    conductor, _ = conducted()
    conductor.parts = replace(conductor.parts, evaluates=True, ends_longest=True, safe_share=safe_share)
    conductor.meter = SimpleNamespace(total_bytes=100, peak=lambda: Peak(used), part_over=lambda: None)
    conductor.progress.phase = "eval"

    control = TrainerControl()
    conductor.on_evaluate(None, None, control)

    assert control.should_training_stop is ends
    assert conductor.finds_peak_again is not ends


@pytest.mark.parametrize(("step", "begins"), [(WORST_STEPS - 1, False), (WORST_STEPS, True)])
def test_timing_begins_after_one_micro_step_of_the_step_after_the_worst_case(conducted, step, begins):
    conductor, recorder = conducted()

    assert not after(conductor, step)
    assert (recorder.timing_since is not None) is begins


def test_timing_begins_after_the_warm_up_wherever_in_a_step_that_is(conducted):
    conductor, recorder = conducted(warm_up=4)

    for step, substep in [(WORST_STEPS, True), (WORST_STEPS + 1, False), (WORST_STEPS + 1, True)]:
        after(conductor, step, substep=substep)
        assert recorder.timing_since is None
    after(conductor, WORST_STEPS + 2, substep=False)

    assert recorder.timing_since is not None
    assert recorder.optimizer_steps == 2


def test_a_long_warm_up_is_cut_short(conducted, monkeypatch):
    conductor, recorder = conducted(warm_up=1000)
    monkeypatch.setattr("autobatch.probe.conductor.WARM_UP_S", 0.0)

    after(conductor, WORST_STEPS)

    assert recorder.timing_since is not None


@pytest.mark.parametrize(("elapsed_s", "ends"), [(0.9, False), (1.1, True)])
def test_any_micro_step_may_be_the_last(conducted, elapsed_s, ends):
    conductor, recorder = conducted(timing_since=0.0, elapsed_s=elapsed_s)

    assert after(conductor, WORST_STEPS + 1) == ends
    assert recorder.excluded_s > 0


def test_what_begins_timing_is_not_taken_off_the_first_micro_step(conducted):
    conductor, recorder = conducted()
    conductor.meter.synchronize = lambda: time.sleep(0.05)

    after(conductor, WORST_STEPS)

    assert recorder.excluded_s < 0.05


@pytest.mark.parametrize(
    ("repeats", "wait_s", "batch_s", "again"),
    [
        (True, 0.0, 0.01, True),
        (False, 0.0, 0.01, False),
        (True, 0.1, 0.01, False),  # the device has waited
        (True, 0.0, 3.0, False),  # it will, when what is ready now is used up
    ],
)
def test_what_has_come_is_repeated_where_the_loader_is_ready_in_time(conducted, repeats, wait_s, batch_s, again):
    conductor, recorder = conducted(repeats=repeats, batch_s=batch_s)
    recorder.waits[-1] = wait_s
    conductor._typical_since -= 1.0

    after(conductor, WORST_STEPS)

    assert recorder.costs == ((2.0, 3.0) if again else (1.0,))
