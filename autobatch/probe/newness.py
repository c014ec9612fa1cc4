"""Padded lengths that a training meets for the first time: a micro-batch with one takes longer.

A process pays for every new length of the source and of the target (docs/probes.md has how much). A short probe meets
little else, a long training hardly any, so a promise is timed with as many as the whole training has.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def first_seen(padded: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which lengths of every micro-batch come for the first time; shape as of the argument.

    Args:
        padded: source and target length of micro-batches in order, shape (micro-batches, 2); a target of 0 is none.

    """
    new = np.zeros(padded.shape, np.bool_)
    for side, lengths in enumerate(padded.T):
        values, places = np.unique(lengths, return_index=True)
        new[places[values > 0], side] = True
    return new


def new_lengths(padded: NDArray[np.int64], micro_steps: float) -> float:
    """Return the new lengths of a mean micro-batch of a training.

    Args:
        padded: its micro-batches, or the first of them; shape as of `first_seen`.
        micro_steps: how many it has in all.

    """
    known = padded[: max(1, round(micro_steps))]
    return float(first_seen(known).sum()) / max(micro_steps, len(known))
