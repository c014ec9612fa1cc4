"""The collator that training uses, and a clock for what a DataLoader worker does."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.utils.data import Dataset, get_worker_info
from transformers import DataCollatorForSeq2Seq, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.trainer_pt_utils import find_batch_size

from autobatch.probe.samples import Item

_WORKERS = 1024
"""Workers with a place of their own in the clock; the first place is that of the process that trains."""


def padding_tokenizer(pad_token_id: int) -> PreTrainedTokenizerBase:
    """Return a tokenizer that can only pad, for a model without one."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    vocabulary = {"<pad>": pad_token_id}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(vocabulary)), pad_token="<pad>")  # noqa: S106 - a token of text


def collator(tokenizer: PreTrainedTokenizerBase, model: Any = None) -> DataCollatorForSeq2Seq:  # noqa: ANN401 - a model, or its adapter
    """Return the collator of both families: it pads to the longest sample, labels with -100.

    Args:
        tokenizer: knows the padding token.
        model: an encoder-decoder that makes its decoder's input from the labels; None for a causal model.

    """
    return DataCollatorForSeq2Seq(tokenizer, model=model, label_pad_token_id=-100)


def pads(collate: Callable[[list[Any]], Any], samples: Sequence[Any]) -> bool:
    """Tell whether a collator makes a row of every sample, as long as the longest; else it joins them.

    What it raises here it raises, or not, in the training: there it is told.
    """
    pair = [samples[0], samples[len(samples) - 1]]
    try:
        batch = collate(pair)
    except Exception:  # noqa: BLE001 - a collator of a script's own
        return True
    rows = find_batch_size(batch["input_ids"] if isinstance(batch, Mapping) and "input_ids" in batch else batch)
    return rows is None or rows >= len(pair)


class LoaderClock:
    """Counts the micro-batches that all workers made, and the seconds it took them.

    Every worker has totals of its own. With a lock around common ones, workers could be started in one way only, and
    one that is killed would leave it locked.
    """

    def __init__(self) -> None:
        self._totals = multiprocessing.RawArray("d", 2 * _WORKERS)
        self._started: float | None = None

    def start(self) -> None:
        """Begin a micro-batch in this process."""
        self._started = time.perf_counter()

    def stop(self) -> None:
        """End the micro-batch that this process began."""
        if self._started is not None:
            worker = get_worker_info()
            place = 0 if worker is None else 1 + worker.id % (_WORKERS - 1)
            self._totals[2 * place] += 1
            self._totals[2 * place + 1] += time.perf_counter() - self._started
            self._started = None

    @property
    def batch_s(self) -> float | None:
        """Mean seconds that one worker needs for one micro-batch; None before the first."""
        batches, seconds = sum(self._totals[::2]), sum(self._totals[1::2])
        return seconds / batches if batches else None


class TimedSamples(Dataset[Item]):
    """A data set whose clock starts when a micro-batch is asked for."""

    def __init__(self, inner: Dataset[Item], clock: LoaderClock) -> None:
        self.inner = inner
        self.clock = clock

    def __len__(self) -> int:
        return len(self.inner)  # type: ignore[arg-type] # every data set here has a length

    def __getitem__(self, index: int) -> Item:
        return self.inner[index]

    def __getitems__(self, indices: list[int]) -> list[Item]:
        self.clock.start()
        return [self.inner[index] for index in indices]


class TimedCollator:
    """A collator that stops the clock when the micro-batch is made."""

    def __init__(self, inner: DataCollatorForSeq2Seq, clock: LoaderClock) -> None:
        self.inner = inner
        self.clock = clock

    def __call__(self, features: list[Item]) -> Any:  # noqa: ANN401 - a BatchEncoding
        """Pad samples to one batch."""
        batch = self.inner(features)
        self.clock.stop()
        return batch
