"""When a probe's training goes on to its next part, and when it ends."""

from types import SimpleNamespace

import pytest
from transformers import TrainerControl

from autobatch.probe.conductor import Conductor, Parts
from autobatch.probe.order import WORST_STEPS
from autobatch.probe.timing import Estimate, Rule

RULE = Rule(0.02, shortest_s=1.0, longest_s=2.0, fewest=2)


class Recorder:
    """What is told instead of measured."""

    def __init__(self, timing_since, elapsed_s):
        self.timing_since, self.elapsed_s, self.excluded_s = timing_since, elapsed_s, 0.0

    def estimate(self):
        return Estimate(0.5, 0.001, 4)

    def begin_timing(self):
        self.timing_since = 0.0

    def exclude(self, seconds):
        self.excluded_s += seconds


@pytest.fixture
def after_substep():
    def end(step, timing_since, elapsed_s):
        silent = SimpleNamespace(**dict.fromkeys(("beat", "utilization", "energy_j", "synchronize"), lambda: None))
        recorder, control = Recorder(timing_since, elapsed_s), TrainerControl()
        parts = Parts(evaluates=False, times=True, ends_longest=False, rule=RULE, deadline=float("inf"))
        conductor = Conductor(parts, recorder, silent, silent)
        conductor.on_substep_end(None, SimpleNamespace(global_step=step), control)
        return recorder, control.should_training_stop

    return end


@pytest.mark.parametrize(("step", "begins"), [(WORST_STEPS - 1, False), (WORST_STEPS, True)])
def test_timing_begins_after_one_micro_step_of_the_step_after_the_worst_case(after_substep, step, begins):
    recorder, ends = after_substep(step, None, 0.0)
    assert (recorder.timing_since is not None, ends) == (begins, False)


@pytest.mark.parametrize(("elapsed_s", "ends"), [(0.9, False), (1.1, True)])
def test_any_micro_step_may_be_the_last(after_substep, elapsed_s, ends):
    recorder, ended = after_substep(WORST_STEPS + 1, 0.0, elapsed_s)
    assert ended == ends
    assert recorder.excluded_s > 0
