"""The order of a probe's samples as its DataLoader takes them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from autobatch.probe.newness import first_seen
from autobatch.probe.order import Order


class ProbeSampler(Sampler[int]):
    """Yields an order's samples; once told so, micro-batches that have come, and new ones as a training has them."""

    def __init__(self, order: Order) -> None:
        self._order, self._indices, self._yielded = order, order.indices, 0

    def __iter__(self) -> Iterator[int]:
        self._yielded = 0
        while self._yielded < len(self._indices):
            self._yielded += 1
            yield self._indices[self._yielded - 1]

    def __len__(self) -> int:
        return len(self._indices)

    def settle(self) -> tuple[float, ...]:
        """Go on as the whole training does, as far as lengths go; return the costs of all micro-batches."""
        order = self._order
        size = len(order.indices) // len(order.padded)
        come = -(-self._yielded // size)
        if come <= order.typical_from:
            return order.costs
        places = self._places(come)
        self._indices = tuple(np.array(order.indices).reshape(-1, size)[places].reshape(-1).tolist())
        return tuple(order.costs[place] for place in places)

    def _places(self, come: int) -> list[int]:
        """Return the micro-batches that come: those that have, then the next, or old ones while it has too much new."""
        order, places, met = self._order, list(range(come)), 0
        new = first_seen(np.array(order.padded)).sum(axis=1)
        following, again = come, order.typical_from
        for count in range(1, len(new) - come + 1):
            if met + new[following] <= order.new_lengths * count:
                places.append(following)
                met += int(new[following])
                following += 1
            else:
                places.append(again)
                again = again + 1 if again + 1 < following else order.typical_from
        return places
