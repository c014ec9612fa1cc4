"""The Trainer of a probe: the library's own, which takes samples in a given order and notes what it did when."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import Dataset, IterableDataset, Sampler, SequentialSampler
from transformers import Seq2SeqTrainer, Trainer

from autobatch.probe.device import Meter
from autobatch.probe.recorder import Fetch, Recorder
from autobatch.probe.sampler import ProbeSampler
from autobatch.probe.samples import Item


class Observed(Trainer):  # type: ignore[misc] # transformers is not typed
    """A Trainer that a recorder watches.

    Args:
        recorder: notes every micro-step.
        meter: waits for the device.
        sampler: order of the training samples.
        options: of `Trainer`.

    """

    def __init__(self, recorder: Recorder, meter: Meter, sampler: ProbeSampler, **options: Any) -> None:  # noqa: ANN401 - as Trainer's
        self._recorder = recorder
        self._meter = meter
        self._sampler = sampler
        super().__init__(**options)

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> Sampler[int]:  # noqa: ARG002 - as Trainer's
        return self._sampler

    def _get_eval_sampler(self, eval_dataset: Any) -> Sampler[int]:  # noqa: ANN401 - as Trainer's
        return SequentialSampler(eval_dataset)

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device) -> Any:  # noqa: ANN401 - as Trainer's
        """Take the micro-batches of a step from the loader."""
        busy_until, begun = self._meter.moment(), time.perf_counter()
        found = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._recorder.fetched(Fetch(begun, time.perf_counter(), busy_until))
        return found

    def training_step(self, *args: Any, **options: Any) -> torch.Tensor:  # noqa: ANN401 - as Trainer's
        """Run forward and backward, and do not wait for them: the Trainer itself waits for the loss alone.

        What comes next is launched beside the rest of the backward pass. Waiting for that made steps of a quantised
        model, bound by launches and by the card in turn, up to a fifth longer than they are.
        """
        loss: torch.Tensor = super().training_step(*args, **options)
        self._recorder.micro_step(self._meter.moment(), loss)
        return loss

    def prediction_step(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as Trainer's
        """Evaluate a batch, or generate from it."""
        self._recorder.evaluation_step()
        return super().prediction_step(*args, **options)

    def repeat_longest(self, samples: list[Item]) -> None:
        """Run forward and backward on some samples, beside the optimizer's state, without recording it."""
        batch = self.data_collator(samples)
        items = self._get_num_items_in_batch([batch], self.args.device)
        super().training_step(self.model_wrapped, batch, items)
        self.model_wrapped.zero_grad()


def own_sampler(trainer: Trainer) -> Iterable[int] | None:
    """Return the sampler that a script's class of Trainer makes; None where it leaves that to the library."""
    if getattr(trainer._get_train_sampler, "__func__", None) is Trainer._get_train_sampler:  # noqa: SLF001 - no public way
        return None
    if trainer.train_dataset is None or isinstance(trainer.train_dataset, IterableDataset):
        return None  # nobody is asked for one
    sampler: Iterable[int] | None = trainer._get_train_sampler(trainer.train_dataset)  # noqa: SLF001 - the same
    return sampler


class ObservedSeq2Seq(Observed, Seq2SeqTrainer):  # type: ignore[misc] # transformers is not typed
    """The same for encoder-decoders, and wherever evaluation generates."""
