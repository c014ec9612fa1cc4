"""A script's own data set: how long its samples are, and the order in which a probe takes them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sized
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset, IterableDataset, Subset
from transformers import Trainer

from autobatch.probe.collate import LoaderClock, TimedCollator, TimedSamples
from autobatch.probe.cost import cost_of
from autobatch.probe.material import Material, arrange, evaluated
from autobatch.probe.order import Cost
from autobatch.probe.samples import Item
from autobatch.request import ProbeRequest

STREAMED = 2048
"""Samples taken from a data set that can only be iterated."""
SCAN_S = 20.0
"""Time to look for the longest sample in a data set that makes its samples when asked; half the rest is enough then."""

Lengths = tuple[NDArray[np.int64], NDArray[np.int64]]


class ScriptSamples(TimedSamples):
    """A script's data set under a clock, fetched in batches where it can be."""

    def __getitems__(self, indices: list[int]) -> list[Item]:
        self.clock.start()
        fetch = getattr(self.inner, "__getitems__", None)
        return list(fetch(indices)) if fetch is not None else [self.inner[index] for index in indices]


def make_material(request: ProbeRequest, trainer: Trainer) -> Material:
    """Return the material of a probe from what a script gave its Trainer."""
    dataset = indexable(training_data(trainer))
    source, target = lengths(dataset, Path(request.folder).parent / "script-lengths.npz")
    cost, clock = _cost(trainer.model), LoaderClock()
    return Material(
        samples=ScriptSamples(dataset, clock),
        evaluation=_evaluation(request, trainer, cost),
        order=arrange(request, (source, target), cost),
        # a sample that is collated by hand has its unused columns still
        collate=TimedCollator(trainer._get_collator_with_removed_columns(trainer.data_collator), clock),  # noqa: SLF001 - no public way
        clock=clock,
        cost=cost,
        tokens_per_sample=float(source.mean() + target.mean()),
        longest=(int(source.max()), int(target.max())),
    )


def has_own_loader(trainer: Trainer) -> bool:
    """Tell whether the script's Trainer makes its DataLoader itself, so that nobody else can choose its batches."""
    return getattr(trainer.get_train_dataloader, "__func__", None) is not Trainer.get_train_dataloader


def training_data(trainer: Trainer) -> Any:  # noqa: ANN401 - whatever a script trains on
    """Return what a Trainer was given to train on, or what its own loader has; None where that does not tell."""
    if trainer.train_dataset is not None or not has_own_loader(trainer):
        return trainer.train_dataset
    return getattr(trainer.get_train_dataloader(), "dataset", None)


def indexable(dataset: Any) -> Any:  # noqa: ANN401 - whatever a script trains on
    """Return a data set whose samples have numbers: itself, the first of a stream, or nothing where unknown."""
    if dataset is None:
        return [None]
    return dataset if is_numbered(dataset) else list(islice(dataset, STREAMED))


def is_numbered(dataset: Any) -> bool:  # noqa: ANN401 - as above
    """Tell whether any sample of a data set can be had by its number."""
    return hasattr(dataset, "__getitem__") and isinstance(dataset, Sized) and not isinstance(dataset, IterableDataset)


def _evaluation(request: ProbeRequest, trainer: Trainer, cost: Cost) -> Subset[Any]:
    """Return a batch of the longest evaluation samples and some typical ones; empty where there are none."""
    dataset = trainer.eval_dataset
    if isinstance(dataset, dict):
        dataset = next(iter(dataset.values()), None)
    if dataset is None:
        return Subset([], [])  # type: ignore[arg-type] # nothing is asked of it
    found = indexable(dataset)
    return Subset(found, evaluated(request, lengths(found), cost))


def _cost(model: Any) -> Cost:  # noqa: ANN401 - a script's model
    try:
        return cost_of(model)
    except AttributeError:
        return Cost(1.0, 1.0)  # a model with no configuration of the library's


def lengths(dataset: Any, cache: Path | None = None) -> Lengths:  # noqa: ANN401 - as above
    """Return the source and target tokens of every sample; the target is 0 where labels are as long as the input.

    Args:
        dataset: with numbered samples.
        cache: kept there for the probes to come, as a large set takes a while.

    """
    if cache is not None and cache.exists():
        kept = np.load(cache)
        if len(kept["source"]) == len(dataset):
            return kept["source"], kept["target"]
    found = _of_columns(dataset) or _of_samples(dataset)
    if cache is not None:
        np.savez(cache, source=found[0], target=found[1])
    return found


def _of_columns(dataset: Any) -> Lengths | None:  # noqa: ANN401 - as above
    """Return lengths by column, without making samples, where the data set is a table of token ids."""
    names = getattr(dataset, "column_names", None) or []
    if "input_ids" not in names or not hasattr(dataset, "with_format"):
        return None
    plain = dataset.with_format(None)
    source = np.fromiter((len(ids) for ids in plain["input_ids"]), np.int64)
    if "labels" not in names:
        return source, np.zeros_like(source)
    target = np.fromiter((len(ids) for ids in plain["labels"]), np.int64)
    return source, np.where(target == source, 0, target)


def _of_samples(dataset: Dataset[Any]) -> Lengths:
    """Return lengths by making every sample; where that takes too long, the rest has the mean of those made."""
    count, deadline = len(dataset), time.monotonic() + SCAN_S  # type: ignore[arg-type] # numbered
    sizes = np.full((2, count), -1, np.int64)
    for index in np.random.default_rng(0).permutation(count):
        sizes[:, index] = size(dataset[int(index)])
        if time.monotonic() > deadline:
            break
    unknown = sizes[0] < 0
    sizes[:, unknown] = np.rint(sizes[:, ~unknown].mean(axis=1, keepdims=True)).astype(np.int64)
    return sizes[0], sizes[1]


def size(sample: Any) -> tuple[int, int]:  # noqa: ANN401 - a sample of any kind
    """Return source and target tokens of a sample, or what stands for them: the elements and letters it holds."""
    if not isinstance(sample, Mapping):
        return _elements(sample), 0
    source = sample.get("input_ids")
    if source is None:
        return sum(_elements(value) for value in sample.values()), 0
    target = _elements(sample.get("labels"))
    return _elements(source), 0 if target == _elements(source) else target


def _elements(value: Any) -> int:  # noqa: ANN401 - as above
    if hasattr(value, "numel"):
        return int(value.numel())
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(_elements(part) for part in value.values())
    if isinstance(value, Iterable):
        return sum(_elements(part) if isinstance(part, Mapping | str | list | tuple) else 1 for part in value)
    return 0 if value is None else 1
