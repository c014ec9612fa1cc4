"""The data of a probe: its samples, their lengths, the order they come in and the collator."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import RandomSampler, Subset
from transformers import PreTrainedTokenizerBase
from transformers.trainer_pt_utils import LengthGroupedSampler

from autobatch import settings as s
from autobatch.probe.build import base_of
from autobatch.probe.collate import LoaderClock, TimedCollator, TimedSamples, collator, padding_tokenizer
from autobatch.probe.cost import cost_of
from autobatch.probe.order import DRAWN_SAMPLES, Cost, Order, longest_batch, make_order
from autobatch.probe.sampler import mixed
from autobatch.probe.samples import RandomSamples
from autobatch.probe.schedule import FEWEST_REPEATED, accumulation, evaluates, repeats_soon, typical_steps
from autobatch.probe.text import TextSamples
from autobatch.request import ProbeRequest
from autobatch.workload.spec import Workload

EVAL_BATCHES = 2
"""Evaluation batches timed, after the longest."""
GENERATED_BATCHES = 0
"""The same where evaluation generates, which takes seconds: the longest is timed itself."""
INFERENCE_BATCHES = 3
"""The same where evaluation is all that is tuned."""


@dataclass(frozen=True)
class Material:
    """What a probe trains and evaluates on."""

    samples: TimedSamples
    evaluation: Subset[Any]
    order: Order
    collate: TimedCollator
    clock: LoaderClock
    cost: Cost
    tokens_per_sample: float
    """Real tokens of a mean sample, source and target."""
    longest: tuple[int, int]
    """Source and target tokens of the longest samples."""


def make_material(request: ProbeRequest, model: nn.Module) -> Material:
    """Make the data for a model."""
    base = base_of(model)
    samples = open_samples(request.workload, base.config.vocab_size, request.seed)
    lengths = (samples.source, samples.target)
    cost, clock = cost_of(model), LoaderClock()
    timed = TimedSamples(samples, clock)
    seq2seq = base if base.config.is_encoder_decoder else None
    return Material(
        samples=timed,
        evaluation=Subset(timed, evaluated(request, lengths, cost)),
        order=arrange(request, lengths, cost),
        collate=TimedCollator(collator(tokenizer_of(base), seq2seq), clock),
        clock=clock,
        cost=cost,
        tokens_per_sample=float(samples.source.mean() + samples.target.mean()),
        longest=(int(samples.source.max()), int(samples.target.max())),
    )


def arrange(
    request: ProbeRequest,
    lengths: tuple[NDArray[np.int64], NDArray[np.int64]],
    cost: Cost,
    *,
    sampler: Iterable[int] | None = None,
    pads: bool = True,
) -> Order:
    """Return the order of a probe's samples.

    Args:
        request: the probe.
        lengths: source and target tokens of every sample.
        cost: of a micro-batch.
        sampler: of the training, where it is not the library's.
        pads: whether the collator pads samples, or joins them.

    """
    workload = request.workload
    order = make_order(
        drawn(request, lengths[0]) if sampler is None else first_of(sampler),
        lengths,
        cost,
        micro_batch=request.configuration.micro_batch,
        accumulation=accumulation(request),
        typical_steps=typical_steps(request),
        samples=workload.epochs * (workload.train_samples or len(lengths[0])) / processes(request),
        evaluates=evaluates(request),
        pads=pads,
    )
    return mixed(order, order.typical_from + FEWEST_REPEATED) if repeats_soon(request) else order


def processes(request: ProbeRequest) -> float:
    """Return how many processes share a training's samples out among them: one a device."""
    each = request.configuration.micro_batch * request.configuration.accumulation
    return max(1.0, (request.workload.effective_batch or each) / each)


def open_samples(workload: Workload, vocabulary: int, seed: int = 0) -> RandomSamples | TextSamples:
    """Return the training samples: the person's own text, or random tokens with the workload's lengths."""
    if workload.data is not None:
        return TextSamples(workload, seed)
    return RandomSamples(workload, vocabulary, workload.train_samples, seed)


def tokenizer_of(model: Any) -> PreTrainedTokenizerBase:  # noqa: ANN401 - a transformers model
    """Return a tokenizer that pads as the model expects."""
    return padding_tokenizer(model.config.pad_token_id)


def drawn(request: ProbeRequest, source: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the samples of some epochs, or the first of a long one, in the order that the Trainer's sampler gives."""
    generator = torch.Generator().manual_seed(request.seed)
    configuration = request.configuration
    if configuration[s.SAMPLING] == "group_by_length":
        step = configuration.micro_batch * configuration.accumulation
        head = source[:DRAWN_SAMPLES].tolist()
        grouped = LengthGroupedSampler(step, lengths=head, generator=generator)
        return np.concatenate([np.fromiter(grouped, np.int64) for _ in range(-(-DRAWN_SAMPLES // len(head)))])
    return np.fromiter(RandomSampler(range(len(source)), num_samples=DRAWN_SAMPLES, generator=generator), np.int64)


def first_of(sampler: Iterable[int]) -> NDArray[np.int64]:
    """Return the samples of some epochs, or the first of a long one, that a sampler draws."""
    found: list[int] = []
    while epoch := list(islice(sampler, DRAWN_SAMPLES - len(found))):
        found += epoch
    return np.array(found, np.int64)


def evaluated(
    request: ProbeRequest, lengths: tuple[NDArray[np.int64], NDArray[np.int64]], cost: Cost, *, pads: bool = True
) -> list[int]:
    """Return the samples to evaluate: a batch of the longest, then typical ones."""
    size = int(request.configuration[s.EVAL_BATCH])
    batches = GENERATED_BATCHES if request.workload.generation else EVAL_BATCHES
    if request.plan.purpose == "inference":
        batches = INFERENCE_BATCHES
    rng = np.random.default_rng(request.seed)
    rest = rng.integers(0, len(lengths[0]), size * batches)
    return [*longest_batch(*lengths, cost, size, pads=pads), *(int(i) for i in rest)]
