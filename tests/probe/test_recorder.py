"""What is noted of a training run."""

import pytest
import torch

from autobatch.probe import recorder
from autobatch.probe.recorder import Fetch, Recorder


@pytest.fixture
def clock(monkeypatch):
    """Put a clock behind the recorder that is turned by hand."""

    class Clock:
        now = 0.0

        def turn(self, seconds):
            self.now += seconds

    made = Clock()
    monkeypatch.setattr(recorder.time, "perf_counter", lambda: made.now)
    return made


def train(notes, clock, steps, *, optimizer=0.5, waited_for):
    """Run steps by the clock; the optimizer is either waited for or runs on into the next step."""
    for _ in range(steps):
        begun = clock.now
        clock.turn(0.25)
        notes.fetched(Fetch(begun, clock.now, lambda begun=begun: begun))
        for _ in range(2):
            clock.turn(1.0)
            now = clock.now
            notes.micro_step(lambda now=now: now, torch.tensor(2.0))
        clock.turn(optimizer)
        if waited_for:
            notes.optimizer_step()


def test_wait_and_optimizer_are_kept_apart_from_the_micro_step(clock):
    notes = Recorder((1.0,) * 40, 1.0)
    train(notes, clock, 3, waited_for=True)
    notes.begin_timing()
    train(notes, clock, 5, waited_for=False)

    assert notes.micro_steps == pytest.approx([1.0] * 10)
    assert notes.optimizer_step_s == pytest.approx(0.5)
    assert notes.wait_s == pytest.approx(0.25)
    assert notes.estimate().seconds == pytest.approx(1.0)


def test_the_first_optimizer_step_which_allocates_is_left_out(clock):
    notes = Recorder((1.0,) * 40, 1.0)
    train(notes, clock, 1, optimizer=9.0, waited_for=True)
    train(notes, clock, 2, optimizer=0.5, waited_for=True)

    assert notes.optimizer_step_s == 0.5


def test_the_probes_own_time_is_left_out(clock):
    notes = Recorder((1.0,) * 40, 1.0)
    train(notes, clock, 2, waited_for=True)
    notes.begin_timing()
    for _ in range(4):
        train(notes, clock, 1, waited_for=False)
        clock.turn(3.0)
        notes.exclude(3.0)

    assert notes.micro_steps == pytest.approx([1.0] * 8)


def test_a_micro_step_has_time_of_its_own_where_the_optimizers_usual_time_is_longer(clock):
    notes = Recorder((1.0,) * 40, 1.0)
    train(notes, clock, 3, optimizer=30.0, waited_for=True)
    notes.begin_timing()
    train(notes, clock, 3, optimizer=0.5, waited_for=False)

    assert min(notes.micro_steps) > 0
    assert notes.estimate().seconds > 0


def test_the_time_of_a_micro_step_is_the_devices(clock):
    notes = Recorder((1.0, 2.0, 3.0), 1.0)
    notes.begin_timing()
    reached = {}
    for number in range(3):  # launched at once
        notes.micro_step(lambda number=number: reached.get(number))
    assert notes.micro_steps == []
    reached |= {0: 1.0, 1: 3.5}
    clock.turn(10.0)
    assert notes.estimate() is None
    assert (notes.micro_steps, notes.micro_costs) == ([1.0, 2.5], [1.0, 2.0])


@pytest.mark.parametrize(("busy_until", "wait_s"), [(1.0, 3.0), (2.5, 2.5), (4.0, 1.0), (7.0, 0.0)])
def test_the_device_waits_for_the_loader_only_while_it_has_nothing_else_to_do(busy_until, wait_s):
    notes = Recorder((), 1.0)
    notes.fetched(Fetch(2.0, 5.0, lambda: busy_until))
    notes.micro_step(lambda: 9.0)
    assert notes.waits == [wait_s]


def test_micro_batches_nobody_planned_cost_as_expected():
    notes = Recorder((3.0,), 1.5)
    notes.begin_timing()
    for _ in range(3):
        notes.micro_step(lambda: 0.0)
    assert notes.micro_costs == [3.0, 1.5, 1.5]


def test_there_is_no_estimate_before_timing(clock):
    notes = Recorder((1.0,) * 40, 1.0)
    train(notes, clock, 4, waited_for=True)

    assert notes.estimate() is None
    assert notes.elapsed_s == 0.0


def test_the_first_loss_that_is_not_finite_is_the_one_told():
    notes = Recorder((), 1.0)
    assert notes.loss() is None
    for value in (1.0, float("inf"), 2.0):
        notes.micro_step(lambda: 1.0, torch.tensor(value))

    assert notes.loss() == float("inf")
    # tensors of the host, kept among the large blocks of a step, would let the heap grow with every micro-step
    assert not any(isinstance(loss, torch.Tensor) for loss in notes.losses)
