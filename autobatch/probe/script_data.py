"""A script's own data set: how long its samples are, and the order in which a probe takes them."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset, Subset
from transformers import Trainer

from autobatch.probe.collate import LoaderClock, TimedCollator, TimedSamples, pads
from autobatch.probe.cost import cost_of
from autobatch.probe.material import Material, arrange, evaluated
from autobatch.probe.order import Cost
from autobatch.probe.samples import Item
from autobatch.probe.schedule import evaluates
from autobatch.probe.script_lengths import Lengths, for_a_while, is_guess, lengths
from autobatch.probe.trainer import own_sampler
from autobatch.request import ProbeRequest
from autobatch.settings import EVAL_BATCH, SAMPLING

STREAMED = 2048
"""Samples taken from a data set that can only be iterated, to tell their lengths."""


class ScriptSamples(TimedSamples):
    """A script's data set under a clock, fetched in batches where it can be."""

    def __getitems__(self, indices: list[int]) -> list[Item]:
        self.clock.start()
        fetch = getattr(self.inner, "__getitems__", None)
        return list(fetch(indices)) if fetch is not None else [self.inner[index] for index in indices]

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a script has its data set know
        if name == "inner" or name.startswith("__"):  # what is unpickled has none yet
            raise AttributeError(name)
        return getattr(self.inner, name)


def make_material(request: ProbeRequest, trainer: Trainer) -> Material:
    """Return the material of a probe from what a script gave its Trainer."""
    dataset, seq2seq = training_data(trainer), is_seq2seq(trainer.model)
    source, target = _lengths(request, dataset, seq2seq=seq2seq)
    cost, clock = _cost(trainer.model), LoaderClock()
    # a sample that is collated by hand has its unused columns still
    collate = trainer._get_collator_with_removed_columns(trainer.data_collator)  # noqa: SLF001 - no public way
    ordered = not comes_as_it_comes(trainer)
    padded = not ordered or pads(collate, dataset)
    return Material(
        samples=ScriptSamples(dataset, clock),
        evaluation=_evaluation(request, trainer, cost, pads=padded),
        order=arrange(
            request, (source, target), cost, sampler=_sampler(request, trainer) if ordered else None, pads=padded
        ),
        collate=TimedCollator(collate, clock),
        clock=clock,
        cost=cost,
        tokens_per_sample=float(source.mean() + target.mean()),
        longest=(int(source.max()), int(target.max())),
    )


def _lengths(request: ProbeRequest, dataset: Any, *, seq2seq: bool) -> Lengths:  # noqa: ANN401 - whatever a script trains on
    """Return the lengths of a data set; of a stream, which is not read for that, what the look at the script found."""
    if is_numbered(dataset):
        return lengths(dataset, Path(request.folder).parent / "script-lengths.npz", seq2seq=seq2seq)
    known = request.workload.lengths
    source = np.array(known.source, np.int64)
    return source, np.array(known.target, np.int64) if known.target else np.zeros_like(source)


def _sampler(request: ProbeRequest, trainer: Trainer) -> Iterable[int] | None:
    """Return what draws a script's samples where `material.drawn` does not."""
    if (own := own_sampler(trainer)) is not None:
        return own
    return range(len(trainer.train_dataset)) if request.configuration[SAMPLING] == "sequential" else None


def comes_as_it_comes(trainer: Trainer) -> bool:
    """Tell whether nobody else can choose the batches: the Trainer makes its DataLoader itself, or reads a stream.

    With `batch_rebalance` the library's own sampler makes whole batches, of several sizes.
    """
    rebalanced = getattr(trainer.args, SAMPLING, None) == "batch_rebalance"
    return rebalanced or has_own_loader(trainer) or not is_numbered(training_data(trainer))


def has_own_loader(trainer: Trainer) -> bool:
    """Tell whether the script's Trainer makes its DataLoader itself, so that nobody else can choose its batches."""
    return getattr(trainer.get_train_dataloader, "__func__", None) is not Trainer.get_train_dataloader


def training_data(trainer: Trainer) -> Any:  # noqa: ANN401 - whatever a script trains on
    """Return what a Trainer was given to train on, or what its own loader has; None where that does not tell."""
    if trainer.train_dataset is not None or not has_own_loader(trainer):
        return trainer.train_dataset
    return getattr(trainer.get_train_dataloader(), "dataset", None)


def indexable(dataset: Any, streamed: int = STREAMED) -> Any:  # noqa: ANN401 - whatever a script trains on
    """Return a data set whose samples have numbers: itself, the first of a stream, or nothing where unknown."""
    if dataset is None:
        return [None]
    return dataset if is_numbered(dataset) else list(for_a_while(islice(dataset, streamed)))


def guesses(samples: Any) -> bool:  # noqa: ANN401 - as above
    """Tell whether the longest of numbered samples is a guess, by the first of them."""
    return len(samples) > 0 and is_guess(samples[0])


def is_numbered(dataset: Any) -> bool:  # noqa: ANN401 - as above
    """Tell whether any sample of a data set can be had by its number."""
    return hasattr(dataset, "__getitem__") and isinstance(dataset, Sized) and not isinstance(dataset, IterableDataset)


def _evaluation(request: ProbeRequest, trainer: Trainer, cost: Cost, *, pads: bool) -> Subset[Any]:
    """Return a batch of the longest evaluation samples and some typical ones; empty where there are none.

    A probe that does not evaluate has the first batch of them: a script's callback may ask for an evaluation.
    """
    dataset = trainer.eval_dataset
    if isinstance(dataset, dict):
        dataset = next(iter(dataset.values()), None)
    if dataset is None:
        return Subset([], [])  # type: ignore[arg-type] # nothing is asked of it
    if not (evaluates(request) or request.plan.purpose == "inference"):
        first = indexable(dataset, int(request.configuration[EVAL_BATCH]))
        return Subset(first, range(min(len(first), int(request.configuration[EVAL_BATCH]))))
    found = indexable(dataset)
    cache = Path(request.folder).parent / "script-eval-lengths.npz"
    known = lengths(found, cache, seq2seq=is_seq2seq(trainer.model))
    return Subset(found, evaluated(request, known, cost, pads=pads))


def is_seq2seq(model: Any) -> bool:  # noqa: ANN401 - a script's model
    """Tell whether a model has an encoder and a decoder, so that its labels are no copy of its input."""
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))


def _cost(model: Any) -> Cost:  # noqa: ANN401 - the same
    try:
        return cost_of(model)
    except AttributeError:
        return Cost(1.0, 1.0)  # a model with no configuration of the library's
