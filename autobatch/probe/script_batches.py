"""The batches of a training loop of a person's own: drawn from its loader, counted and checked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from transformers.trainer_pt_utils import find_batch_size

from autobatch.errors import UsageError
from autobatch.settings import ACCUMULATION, MICRO_BATCH

UNSTEPPED = 100
"""Batches without a step, after which none is expected any more; or four times what a step should take."""
T = TypeVar("T")


@dataclass
class Drawing:
    """What a loop draws, and how long it waits for that."""

    accumulation: int
    """Batches to a step, if the loop does as it is told."""
    in_a_pass: int | None = None
    """Batches in a pass of the loader, where it has a length."""
    wait_s: float = 0.0
    total: int = 0
    _stepped: int = 0
    """Batches drawn when the last step was done."""

    def over_and_over(self, loader: Iterable[T]) -> Iterator[T]:
        """Yield a loader's batches, pass after pass, until a pass has none: an iterator has but one."""
        found = True
        while found:
            found = False
            for batch in self._timed(loader):
                found = True
                yield batch

    def _timed(self, loader: Iterable[T]) -> Iterator[T]:
        batches = iter(loader)
        while True:
            start = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            self.wait_s += time.perf_counter() - start
            yield batch

    def counted(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield batches for as long as steps are made of them.

        Raises:
            UsageError: none has been for long.

        """
        for batch in batches:
            if self.total - self._stepped >= max(UNSTEPPED, 4 * self.accumulation):
                what = f"The loop took {self.total - self._stepped} batches without a call of p.step()."
                do = f'Call it after every optimizer step, each of p.setting("{ACCUMULATION}", 1) batches.'
                raise UsageError(what, do)
            self.total += 1
            yield batch

    def step(self) -> int:
        """Return the batches drawn since the step before."""
        taken, self._stepped = self.total - self._stepped, self.total
        return taken

    def check(self, taken: int) -> None:
        """Refuse a loop that accumulates as it likes; one that draws none by us may do so.

        Raises:
            UsageError: a step took other batches than it should.

        """
        if taken not in (0, self.accumulation) and not self._short_at_an_end(taken):
            what = f"The loop takes {taken} batches to a step when {ACCUMULATION} is {self.accumulation}."
            raise UsageError(what, f'Have it take p.setting("{ACCUMULATION}", {taken}) batches to a step.')

    def _short_at_an_end(self, taken: int) -> bool:
        """Tell whether a step is short as the loop steps at the end of a pass: its last, or, still counting, the next.

        A loop counts the batches that it is given, and compares them with the length that its loader has.
        """
        begun, length = self.total - taken, self.in_a_pass
        if not length or not begun or taken > self.accumulation:
            return False
        is_last = self.total % length == 0 and begun % length % self.accumulation == 0
        return is_last or (begun % length == 0 and self.total % self.accumulation == 0)


@dataclass
class Batches(Generic[T]):
    """What a loop draws from in the place of its loader: as long as that, though it goes on and on."""

    loader: Iterable[T]
    draw: Callable[[], Iterator[T]]

    def __iter__(self) -> Iterator[T]:
        return self.draw()

    def __len__(self) -> int:
        """Return the loader's length.

        Raises:
            TypeError: it has none.

        """
        return len(self.loader)  # type: ignore[arg-type] # that it may have none is what is said


def length_of(loader: object) -> int | None:
    """Return the batches in a pass of a loader; None where it does not tell, as a DataLoader of a stream."""
    try:
        return len(loader)  # type: ignore[arg-type] # the same
    except TypeError:
        return None


def check_size(loader: object, first: object, expected: int) -> None:
    """Refuse a loader that makes batches of its own size: whatever was measured would be of that.

    Batches alone do not tell: packed, or with time before samples, they have another size than their number of samples.

    Args:
        loader: of the loop.
        first: its first batch.
        expected: samples in a batch, if the loop does as it is told.

    Raises:
        UsageError: neither the loader nor the batch has that size.

    """
    said = size_of(loader)
    if said is not None and expected not in (said, find_batch_size(first)):
        what = f"The loop's loader makes batches of {said} when {MICRO_BATCH} is {expected}."
        raise UsageError(what, f'Have it read batch_size=p.setting("{MICRO_BATCH}", {said}).')


def size_of(loader: Any) -> int | None:  # noqa: ANN401 - whatever a loop draws from
    """Return the samples in a batch of a DataLoader; None where it does not tell."""
    sampler = getattr(loader, "batch_sampler", None)
    found = getattr(loader, "batch_size", None) or getattr(sampler, "batch_size", None)
    return found if isinstance(found, int) else None
