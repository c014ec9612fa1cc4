"""The order of a probe's samples as its DataLoader takes them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from autobatch.probe.newness import first_seen
from autobatch.probe.order import Order


def mixed(order: Order, come: int) -> Order:
    """Return an order that goes on as the whole training does, as far as new lengths go.

    Args:
        order: of a probe.
        come: micro-batches that stay where they are; none is repeated where none of them is typical.

    """
    if come <= order.typical_from:
        return order
    return order.rearranged([*range(come), *_following(order, come)])


def _following(order: Order, come: int) -> Iterator[int]:
    """Yield the micro-batches after those that have come: the next one, or an old one while it has too much new."""
    new, met = first_seen(np.array(order.padded)).sum(axis=1), 0
    following, again = come, order.typical_from
    for count in range(1, len(new) - come + 1):
        if met + new[following] <= order.new_lengths * count:
            yield following
            met += int(new[following])
            following += 1
        else:
            yield again
            again = again + 1 if again + 1 < following else order.typical_from


class ProbeSampler(Sampler[int]):
    """Yields an order's samples; once told so, new lengths among those that have come as a training has them."""

    def __init__(self, order: Order) -> None:
        self._order, self._yielded = order, 0

    def __iter__(self) -> Iterator[int]:
        self._yielded = 0
        while self._yielded < len(self):
            self._yielded += 1
            yield self._order.indices[self._yielded - 1]

    def __len__(self) -> int:
        return len(self._order.indices)

    def settle(self) -> tuple[float, ...]:
        """Go on as the whole training does, as far as lengths go; return the costs of all micro-batches."""
        size = len(self) // len(self._order.padded)
        self._order = mixed(self._order, -(-self._yielded // size))
        return self._order.costs
