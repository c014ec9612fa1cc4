from hypothesis import given
from hypothesis import strategies as st

from autobatch.estimate.allocator import Allocator

MIB = 1 << 20


def test_segments_have_the_sizes_that_pytorch_asks_for():
    reserved = []
    for size in (512, MIB, MIB + 1, 10 * MIB, 10 * MIB + 1):
        allocator = Allocator()
        allocator.allocate(size)
        reserved.append(allocator.reserved // MIB)
    assert reserved == [2, 2, 20, 10, 12]


def test_a_freed_block_serves_again_and_neighbours_merge():
    allocator = Allocator()
    blocks = [allocator.allocate(4 * MIB) for _ in range(5)]
    assert allocator.reserved == 20 * MIB
    for block in (blocks[1], blocks[3], blocks[2]):
        allocator.release(block)
    allocator.allocate(12 * MIB)
    assert allocator.reserved == 20 * MIB
    assert allocator.peak_allocated == 20 * MIB


def test_scattered_holes_do_not_serve_a_larger_request():
    allocator = Allocator()
    blocks = [allocator.allocate(4 * MIB) for _ in range(5)]
    allocator.release(blocks[1])
    allocator.release(blocks[3])
    allocator.allocate(8 * MIB)
    assert allocator.reserved == 40 * MIB


def test_the_smallest_block_that_serves_is_taken():
    allocator = Allocator()
    large, small = allocator.allocate(64 * MIB), allocator.allocate(32 * MIB)
    allocator.release(large)
    allocator.release(small)
    allocator.allocate(30 * MIB)
    allocator.allocate(64 * MIB)
    assert allocator.reserved == 96 * MIB


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40 * MIB)), max_size=60))
def test_nothing_is_lost_and_everything_comes_back(steps):
    allocator, held = Allocator(), []
    for free, size in steps:
        if free and held:
            allocator.release(held.pop(size % len(held)))
        else:
            held.append(allocator.allocate(size))
        assert allocator.allocated == sum(block.size for block in held)
        assert allocator.allocated <= allocator.peak_allocated <= allocator.reserved
    for block in held:
        allocator.release(block)
    assert allocator.allocated == 0
    assert sum(size for pool in allocator._pools for size, _, _ in pool) == allocator.reserved
