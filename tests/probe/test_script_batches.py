from contextlib import nullcontext

import pytest
import torch
from torch.utils.data import DataLoader

from autobatch.errors import UsageError
from autobatch.probe.script_batches import UNSTEPPED, Drawing, check_size


def test_a_loader_is_drawn_from_again_and_an_iterator_once():
    assert list(Drawing(1).over_and_over(iter([1, 2]))) == [1, 2]

    again = Drawing(1).over_and_over([1, 2])

    assert [next(again) for _ in range(5)] == [1, 2, 1, 2, 1]


@pytest.mark.parametrize(("accumulation", "most"), [(1, UNSTEPPED), (50, 200)])
def test_batches_without_a_step_come_to_an_end(accumulation, most):
    drawing = Drawing(accumulation)

    with pytest.raises(UsageError, match=rf"took {most} batches without a call of p.step\(\)"):
        list(drawing.counted(range(1000)))

    assert drawing.total == most


def test_a_step_is_of_the_batches_drawn_since_the_one_before():
    drawing = Drawing(2)
    batches = drawing.counted(range(9))

    taken = [[next(batches) for _ in range(n)] and drawing.step() for n in (3, 2)]

    assert taken == [3, 2]
    for fine in (0, 2):
        drawing.check(fine)
    with pytest.raises(UsageError, match="takes 3 batches to a step when gradient_accumulation_steps is 2"):
        drawing.check(3)


@pytest.mark.parametrize(
    ("accumulation", "length", "steps", "fine"),
    [
        (8, 12, (8, 4), True),  # ends with the loader
        (8, 5, (5, 3), True),  # ended with the loader, and goes on counting
        (8, 2, (2, 2), True),  # is given no more of a pass, and counts anew
        (8, 12, (8, 3), False),
        (8, 12, (8, 9), False),
        (8, 2, (1, 1), False),  # does not accumulate
        (4, 6, (3, 3), False),  # accumulates as it likes
        (8, None, (8, 4), False),
    ],
)
def test_a_step_may_be_short_at_the_end_of_a_pass(accumulation, length, steps, fine):
    drawing = Drawing(accumulation, length)
    batches = drawing.counted(range(100))
    *_, taken = [[next(batches) for _ in range(n)] and drawing.step() for n in steps]

    with nullcontext() if fine else pytest.raises(UsageError, match=f"takes {taken} batches to a step"):
        drawing.check(taken)


def test_a_loader_of_its_own_size_is_refused():
    loader = DataLoader(torch.ones(8), batch_size=4)
    sampled = DataLoader(torch.ones(8), batch_sampler=torch.utils.data.BatchSampler(range(8), 4, drop_last=True))

    for each in (loader, sampled):
        check_size(each, torch.ones(4), 4)
        with pytest.raises(UsageError, match="makes batches of 4 when per_device_train_batch_size is 2"):
            check_size(each, torch.ones(4), 2)


@pytest.mark.parametrize(
    ("loader", "first"),
    [
        (DataLoader(torch.ones(8), batch_size=2), torch.ones(1, 64)),  # packed
        (DataLoader([torch.ones(2, 3)], batch_size=1), torch.ones(2, 3)),  # its samples are batches
        (iter(()), torch.ones(64, 2)),  # time comes first
    ],
)
def test_a_batch_of_another_shape_may_be_as_large_as_it_should(loader, first):
    check_size(loader, first, 2)
