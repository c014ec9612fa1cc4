"""The collator that training uses, and a clock for what a DataLoader worker does."""

from __future__ import annotations

import multiprocessing
import time
from typing import Any

from torch.utils.data import Dataset
from transformers import DataCollatorForSeq2Seq, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from autobatch.probe.samples import Item


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


class LoaderClock:
    """Counts the micro-batches that all workers made, and the seconds it took them."""

    def __init__(self) -> None:
        self._totals = multiprocessing.Array("d", 2)
        self._started: float | None = None

    def start(self) -> None:
        """Begin a micro-batch in this process."""
        self._started = time.perf_counter()

    def stop(self) -> None:
        """End the micro-batch that this process began."""
        if self._started is not None:
            with self._totals:
                self._totals[0] += 1
                self._totals[1] += time.perf_counter() - self._started
            self._started = None

    @property
    def batch_s(self) -> float | None:
        """Mean seconds that one worker needs for one micro-batch; None before the first."""
        with self._totals:
            batches, seconds = self._totals[0], self._totals[1]
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
