"""How long the samples of a script's data set are, kept for the probes to come."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

SCAN_S = 20.0
"""Time to look for the longest sample in a data set that makes its samples when asked; half the rest is enough then."""
_ANSWERS = {"chosen", "rejected", "completion"}
"""Words in the names of columns that TRL has for answers to the same prompt."""
_BESIDE_IDS = {"type", "position"}
"""Words in the names of columns that say something of every token: `token_type_ids`."""

Lengths = tuple[NDArray[np.int64], NDArray[np.int64]]
T = TypeVar("T")


def lengths(dataset: Any, cache: Path | None = None, *, seq2seq: bool = False) -> Lengths:  # noqa: ANN401 - as above
    """Return the source and target tokens of every sample.

    Args:
        dataset: with numbered samples.
        cache: kept there for the probes to come, as a large set takes a while.
        seq2seq: whether the model has a decoder for the labels; any other has labels as long as the input for a copy
            of it, and their target is 0.

    """
    found = None if cache is None else _kept(cache, dataset)
    if found is None:
        found = _of_columns(dataset) or _of_samples(dataset)
        if cache is not None:
            _keep(cache, dataset, found)
    source, target = found
    return source, target if seq2seq else np.where(target == source, 0, target)


def _kept(cache: Path, dataset: Any) -> Lengths | None:  # noqa: ANN401 - as above
    """Return what was kept of a data set; None where there is nothing to be read, or another had it written."""
    try:
        with np.load(cache) as kept:
            source, target, name = kept["source"], kept["target"], str(kept["name"])
    except (OSError, ValueError, EOFError, KeyError, BadZipFile):
        return None
    return (source, target) if len(source) == len(dataset) and name == _name(dataset) else None


def _keep(cache: Path, dataset: Any, found: Lengths) -> None:  # noqa: ANN401 - as above
    """Write it whole or not at all: a probe may be killed at any moment."""
    whole = cache.with_name(f"{cache.stem}.{os.getpid()}.npz")
    np.savez(whole, source=found[0], target=found[1], name=_name(dataset))
    whole.replace(cache)


def _name(dataset: Any) -> str:  # noqa: ANN401 - as above
    """Return what tells a data set of the datasets library from another of the same size; other kinds have no such."""
    return str(getattr(dataset, "_fingerprint", ""))


def _of_columns(dataset: Any) -> Lengths | None:  # noqa: ANN401 - as above
    """Return lengths by column, without making samples, where the data set is a table of token ids."""
    names = getattr(dataset, "column_names", None) or []
    if "input_ids" not in names or not hasattr(dataset, "with_format"):
        return None
    plain = dataset.with_format(None)
    source = _column(plain["input_ids"])
    return source, _column(plain["labels"]) if "labels" in names else np.zeros_like(source)


def _column(values: Iterable[Any]) -> NDArray[np.int64]:
    """Return the tokens in every row of a column; a number, as a class is, has none."""
    return np.fromiter((_tokens(value) for value in values), np.int64)


def _tokens(value: Any) -> int:  # noqa: ANN401 - as above
    """Return the tokens of a row; one of several choices has a list of them for each, and all are padded alike."""
    if not isinstance(value, Sized):
        return 0
    if isinstance(value, list) and value and isinstance(value[0], list):
        return len(value) * max(len(choice) for choice in value)
    return len(value)


def _of_samples(dataset: Dataset[Any]) -> Lengths:
    """Return lengths by making every sample; where that takes too long, the rest has the mean of those made."""
    count = len(dataset)  # type: ignore[arg-type] # numbered
    sizes = np.full((2, count), -1, np.int64)
    for index in for_a_while(np.random.default_rng(0).permutation(count).tolist()):
        sizes[:, index] = size(dataset[index])
    unknown = sizes[0] < 0
    sizes[:, unknown] = np.rint(sizes[:, ~unknown].mean(axis=1, keepdims=True)).astype(np.int64)
    return sizes[0], sizes[1]


def for_a_while(values: Iterable[T]) -> Iterator[T]:
    """Yield values, at least one, for as long as one may look at a data set."""
    deadline = time.monotonic() + SCAN_S
    for value in values:
        yield value
        if time.monotonic() > deadline:
            return


def size(sample: Any) -> tuple[int, int]:  # noqa: ANN401 - a sample of any kind
    """Return source and target tokens of a sample, or what stands for them: the elements and letters it holds."""
    if not isinstance(sample, Mapping):
        return _elements(sample), 0
    source, labels = sample.get("input_ids"), sample.get("labels")
    if source is None:
        return _of_ids(sample) or sum(_elements(value) for value in sample.values()), 0
    return _elements(source), 0 if _is_number(labels) else _elements(labels)


def is_guess(sample: Any) -> bool:  # noqa: ANN401 - as above
    """Tell whether a sample's size says little: text beside numbers, of which nobody knows what a collator makes."""
    if not isinstance(sample, Mapping) or sample.get("input_ids") is not None or _of_ids(sample):
        return False
    told = [
        value for value in sample.values() if isinstance(value, str) or (not _is_number(value) and _elements(value))
    ]
    return len({_is_text(value) for value in told}) > 1


def _of_ids(sample: Mapping[Any, Any]) -> int:
    """Return the tokens in the columns of ids of any other name; 0 where there are none.

    What is beside them, such as the text that they are of, is not trained on. Of answers to the same prompt each makes
    a row of its own, padded as the longest.
    """
    common, longest = 0, 0
    for name, value in sample.items():
        words = set(str(name).lower().split("_"))
        if "ids" not in words or words & _BESIDE_IDS or _is_number(value) or _is_text(value):
            continue
        if words & _ANSWERS:
            longest = max(longest, _elements(value))
        else:
            common += _elements(value)
    return common + longest


def _is_text(value: Any) -> bool:  # noqa: ANN401 - as above
    """Tell whether a column holds text, in lists or messages, and no numbers."""
    while isinstance(value, list | tuple | Mapping) and value:
        value = next(iter(value.values() if isinstance(value, Mapping) else value))
    return isinstance(value, str | bytes)


def _is_number(value: Any) -> bool:  # noqa: ANN401 - as above
    """Tell whether a label is a class or a figure, and no tokens."""
    return isinstance(value, int | float) or getattr(value, "ndim", 1) == 0


def _elements(value: Any) -> int:  # noqa: ANN401 - as above
    if hasattr(value, "numel"):
        return int(value.numel())
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(_elements(part) for part in value.values())
    if isinstance(value, np.ndarray):
        return int(value.size)
    if isinstance(value, Iterable):
        return sum(1 if isinstance(part, int | float) else _elements(part) for part in value)
    return 0 if value is None else 1
