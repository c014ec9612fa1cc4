"""Samples of a person's own text, tokenised when the DataLoader asks for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from autobatch.probe.samples import Item, interpolate, truncated
from autobatch.workload import data, tokens
from autobatch.workload.data import Sample
from autobatch.workload.spec import Workload
from autobatch.workload.tokens import Tokenizer

MOST_SIZED = 20_000
"""Samples whose size is looked at: all of a moderate data set, else as many at random and the longest."""
CANDIDATES = 4
"""Samples with the most text that are tokenised to find the one with the most tokens."""


class TextSamples(Dataset[Item]):
    """Texts, and their summaries where there are some, as token ids.

    To tokenise all of them first would take longer than the probe. So lengths are the workload's, given to the samples
    by the rank of their size in bytes; those with the most text are counted.

    Args:
        workload: with data.
        seed: of the choice of samples from a large data set.

    Attributes:
        source, target: about the tokens of every sample after truncation; `target` is all zeros for a causal model.

    """

    def __init__(self, workload: Workload, seed: int = 0) -> None:
        assert workload.data is not None
        self._workload = workload
        self._tokenizer = tokens.load(workload.model)
        self._samples = data.read(workload.data.path, workload.data.text_column, workload.data.summary_column)
        self._chosen = _chosen(len(self._samples), workload.data.longest_index, seed)
        self.source, self.target = self._lengths()

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> Item:
        return encode(self._samples[self._chosen[index]], self._workload, self._tokenizer)

    def _lengths(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        texts = [self._samples[index] for index in self._chosen]
        causal = self._workload.model.family == "causal"
        summaries = np.array([len((sample.summary or "").encode()) for sample in texts])
        sources = np.array([len(sample.text.encode()) for sample in texts]) + causal * summaries
        known = truncated(self._workload)
        source, target = ranked(sources, known.source), ranked(summaries, () if causal else known.target)
        for index in {*np.argsort(sources)[-CANDIDATES:], *np.argsort(summaries)[-CANDIDATES:], self._longest()}:
            item = self[int(index)]
            source[index] = len(item["input_ids"])
            target[index] = 0 if causal else len(item["labels"])
        return source, target

    def _longest(self) -> int:
        longest = self._workload.data.longest_index if self._workload.data else None
        return 0 if longest is None else self._chosen.index(longest)


def _chosen(count: int, longest: int | None, seed: int) -> list[int]:
    """Return the samples used, by their place in the data."""
    if count <= MOST_SIZED:
        return list(range(count))
    drawn = np.random.default_rng(seed).choice(count, MOST_SIZED, replace=False).tolist()
    return drawn if longest is None or longest in drawn else [longest, *drawn[1:]]


def ranked(sizes: NDArray[np.int64], quantiles: Sequence[int]) -> NDArray[np.int64]:
    """Return a length from the distribution for every size, by its rank; the largest has the longest."""
    if not quantiles:
        return np.zeros(len(sizes), np.int64)
    order = np.argsort(sizes, kind="stable")
    lengths = np.empty(len(sizes), np.int64)
    lengths[order] = interpolate(quantiles, (np.arange(len(sizes)) + 0.5) / len(sizes))
    lengths[order[-1]] = quantiles[-1]
    return lengths


def encode(sample: Sample, workload: Workload, tokenizer: Tokenizer) -> Item:
    """Return a sample cut at the workload's limits; a causal model reads text and summary as one."""
    source = tokenizer.ids(sample.text)
    target = tokenizer.ids(sample.summary or "")
    if workload.model.family == "causal":
        source = (source + target if sample.summary else source)[: workload.max_source_length]
        return {"input_ids": source, "labels": source}
    return {"input_ids": source[: workload.max_source_length], "labels": target[: workload.max_target_length]}
