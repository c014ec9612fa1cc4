"""A model of PyTorch's caching allocator: from a sequence of allocations to the bytes it reserves.

The rules are those of `c10/cuda/CUDACachingAllocator`: sizes are rounded to 512 B; up to 1 MiB comes from 2 MiB
segments, up to 10 MiB from 20 MiB segments, more from segments of its own in steps of 2 MiB; a free block is split;
neighbours merge; the best fit wins.
"""

from __future__ import annotations

from bisect import bisect_left, insort

_ROUND = 512
_SMALL = 1 << 20
_SMALL_SEGMENT = 2 << 20
_MEDIUM = 10 << 20
_MEDIUM_SEGMENT = 20 << 20
_LARGE_STEP = 2 << 20


class Block:
    """A piece of a segment, in use or free."""

    __slots__ = ("address", "after", "before", "free", "size", "small")

    def __init__(self, address: int, size: int, *, small: bool) -> None:
        self.address, self.size, self.small = address, size, small
        self.before: Block | None = None
        self.after: Block | None = None
        self.free = False


class Allocator:
    """Counts bytes allocated and reserved and their peaks, and how often and how much was asked for in all."""

    def __init__(self) -> None:
        self.allocated = self.reserved = self.peak_allocated = 0
        self.count = self.total = 0
        self._pools: tuple[list[tuple[int, int, Block]], ...] = ([], [])
        self._next_address = 0

    def allocate(self, size: int) -> Block:
        """Return a block of at least `size` bytes."""
        size = -(-size // _ROUND) * _ROUND or _ROUND
        small = size <= _SMALL
        pool = self._pools[small]
        index = bisect_left(pool, (size,))
        block = pool.pop(index)[2] if index < len(pool) else self._segment(size, small=small)
        block.free = False
        if block.size - size > (_ROUND - 1 if small else _SMALL):
            self._split(block, size, pool)
        self.count += 1
        self.total += size
        self.allocated += block.size
        self.peak_allocated = max(self.peak_allocated, self.allocated)
        return block

    def release(self, block: Block) -> None:
        """Give a block back; it merges with free neighbours."""
        self.allocated -= block.size
        pool = self._pools[block.small]
        before, after = block.before, block.after
        if after is not None and after.free:
            self._take(pool, after)
            block.size += after.size
            block.after = after.after
            if after.after is not None:
                after.after.before = block
        if before is not None and before.free:
            self._take(pool, before)
            before.size += block.size
            before.after = block.after
            if block.after is not None:
                block.after.before = before
            block = before
        block.free = True
        insort(pool, (block.size, block.address, block))

    def _segment(self, size: int, *, small: bool) -> Block:
        if small:
            total = _SMALL_SEGMENT
        elif size < _MEDIUM:
            total = _MEDIUM_SEGMENT
        else:
            total = -(-size // _LARGE_STEP) * _LARGE_STEP
        self.reserved += total
        self._next_address += total
        return Block(self._next_address - total, total, small=small)

    @staticmethod
    def _split(block: Block, size: int, pool: list[tuple[int, int, Block]]) -> None:
        rest = Block(block.address + size, block.size - size, small=block.small)
        rest.before, rest.after, rest.free = block, block.after, True
        if block.after is not None:
            block.after.before = rest
        block.after, block.size = rest, size
        insort(pool, (rest.size, rest.address, rest))

    @staticmethod
    def _take(pool: list[tuple[int, int, Block]], block: Block) -> None:
        del pool[bisect_left(pool, (block.size, block.address))]
