import pytest

from autobatch.estimate.allocator import Allocator
from autobatch.estimate.tape import Tape

N = 1 << 22


@pytest.fixture
def tape():
    return Tape(Allocator())


def allocated(tape):
    return tape.allocator.allocated // N


def test_a_result_that_nobody_needs_is_freed_at_once(tape):
    x = tape.new(N, 1, trained=True)
    y = tape.unary(tape.unary(x))
    assert allocated(tape) == 2
    del y
    assert allocated(tape) == 1


def test_what_the_backward_pass_needs_stays_until_it_has_run(tape):
    x = tape.new(N, 1, trained=True)
    y = tape.unary(tape.unary(x), save_input=True)
    loss = tape.op(1, 1, (y,))
    del y
    assert allocated(tape) == 2
    tape.backward(loss)
    del loss
    assert allocated(tape) == 2  # x and its gradient
    assert x.slot.gradient is not None


def test_nothing_is_kept_where_nothing_is_trained(tape):
    y = tape.unary(tape.new(N, 1), save_input=True)
    assert not y.trained
    assert tape.nodes == []


def test_a_sum_passes_its_gradient_on_without_a_copy(tape):
    x, y = tape.new(N, 1, trained=True), tape.new(N, 1, trained=True)
    tape.backward(tape.add(x, y))
    assert x.slot.gradient is y.slot.gradient
    assert allocated(tape) == 3


def test_a_shared_gradient_is_not_added_to_in_place(tape):
    x, y = tape.new(N, 1, trained=True), tape.new(N, 1, trained=True)
    tape.backward(tape.add(tape.add(x, y), x))
    assert x.slot.gradient is not y.slot.gradient


def test_autocast_copies_a_weight_once_a_pass():
    tape = Tape(Allocator(), compute_width=2)
    weight, x = tape.new(N, 4, trained=True), tape.new(1 << 11, 4)
    outs = [tape.linear(x, weight, 1 << 11) for _ in range(3)]
    assert allocated(tape) == 4 + 2
    tape.nodes.clear()
    outs.clear()
    tape.leave_autocast()
    assert allocated(tape) == 4


def test_a_checkpointed_layer_keeps_its_input_alone_and_runs_again(tape):
    runs = []

    def layer(x):
        runs.append(1)
        for _ in range(4):
            x = tape.unary(x, save_input=True)
        return x

    x = tape.new(N, 1, trained=True)
    out = tape.checkpoint(layer, x)
    assert allocated(tape) == 2
    tape.backward(out)
    assert len(runs) == 2
    assert x.slot.gradient is not None
    # kept inputs 1 + 3, the incoming gradient, and the output that the caller still holds
    assert tape.allocator.peak_allocated // N == 1 + 3 + 1 + 1 + 1


def test_checkpointing_leaves_the_same_gradients_as_none(tape):
    weight = tape.new(N, 1, trained=True)

    def layer(x):
        return tape.mul(weight, tape.unary(x, save_output=True))

    x = tape.new(N, 1, trained=True)
    tape.backward(tape.checkpoint(layer, tape.checkpoint(layer, x)))
    assert weight.slot.gradient is not None
    assert x.slot.gradient is not None
    assert allocated(tape) == 4
