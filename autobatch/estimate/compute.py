"""Work and time of training, from shapes alone: floating-point operations, and a rough time on a given card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autobatch import settings
from autobatch.estimate import memory, shapes
from autobatch.estimate.cards import Card
from autobatch.estimate.memory import TRAINER, Loop
from autobatch.estimate.shapes import Architecture
from autobatch.settings import Configuration
from autobatch.workload.spec import Workload

PEAK_SHARE: Mapping[str, float] = {"bf16": 0.65, "fp16": 0.65, "tf32": 0.33, "fp32": 0.70}
"""Share of the data sheet's peak that matrix products reach, by precision (H100)."""
READ_AND_WRITTEN = 3.0
"""Bytes read and written for each byte written, by kernels bound by memory."""
OPERATION_S = 47e-6
"""Time of the host for one operation, forward or backward: launches, autograd, and Python about them (H100 host)."""
REL_SIGMA = 0.25
_TFLOPS = 1e12


@dataclass(frozen=True)
class Prediction:
    """A predicted time.

    Attributes:
        seconds: forward and backward of one micro-batch.
        rel_sigma: standard deviation of the logarithm of measured over predicted.

    """

    seconds: float
    rel_sigma: float


def flops_per_sample(
    workload: Workload,
    configuration: Configuration,
    source_tokens: int,
    target_tokens: int = 0,
    *,
    recompute: bool = False,
) -> float:
    """Return the floating-point operations of one sample's forward and backward pass.

    A product of an [n, k] and a [k, m] matrix counts 2nkm; attention counts every pair of tokens, causal or not, as is
    usual for model FLOPs utilisation. The weights of a frozen base take no gradient. What gradient checkpointing
    computes twice counts only with `recompute`.
    """
    architecture = shapes.read(workload.model)
    frozen = configuration[settings.METHOD] == "lora"
    layers, attention = _forward(architecture, source_tokens, target_tokens)
    head_tokens = target_tokens if architecture.seq2seq else source_tokens
    head = 2.0 * head_tokens * architecture.width * architecture.vocabulary
    passes = 2 if frozen else 3
    total = passes * (layers + head) + 3 * attention
    if frozen:
        adapters = _adapters(architecture, workload, source_tokens, target_tokens)
        total += 3 * adapters
        layers += adapters
    if recompute and configuration[settings.CHECKPOINTING]:
        total += layers + attention
    return total


def mfu(flops: float, seconds: float, card: Card, precision: str) -> float | None:
    """Return the share of a card's peak that `flops` in `seconds` come to; None where the peak is not known."""
    peak = card.tflops.get(precision)
    return flops / seconds / (peak * _TFLOPS) if peak else None


def predict_time(workload: Workload, configuration: Configuration, card: Card, *, loop: Loop = TRAINER) -> Prediction:
    """Predict the time of one micro-step on the longest batch: rough, and meant as a prior.

    The larger of two: what the host needs to launch the kernels, and what the card needs to run them, which is matrix
    products at a share of its peak, and everything else at the bandwidth of its memory.
    """
    source, target = memory.longest_tokens(workload)
    batch = configuration.micro_batch
    done = memory.peak_of(memory.arm_of(workload, configuration, source, target, loop), batch)
    floor = done.operations * OPERATION_S
    precision = str(configuration[settings.PRECISION])
    peak = card.tflops.get(precision)
    if not peak or not card.bandwidth_bytes_s:
        return Prediction(floor, 1.0)
    flops = batch * flops_per_sample(workload, configuration, source, target, recompute=True)
    products = flops / (peak * _TFLOPS * PEAK_SHARE[precision])
    moved = done.written * READ_AND_WRITTEN / card.bandwidth_bytes_s
    return Prediction(max(floor, products + moved), REL_SIGMA)


def _forward(architecture: Architecture, source: int, target: int) -> tuple[float, float]:
    """Return the forward operations of the linear layers and of attention."""
    a = architecture
    pairs = 4.0 * a.projected
    if not a.seq2seq:
        return 2.0 * source * sum(_size(x) for x in a.linears()), a.decoder_layers * pairs * source**2
    own = sum(_size(x) for x in a.attention())
    cross = a.attention("cross.")
    encoder = source * (own + sum(_size(x) for x in a.feed_forward()))
    decoder = target * (own + sum(_size(x) for x in a.feed_forward(a.decoder_inner)))
    decoder += target * (_size(cross[0]) + _size(cross[3])) + source * (_size(cross[1]) + _size(cross[2]))
    attention = a.encoder_layers * source**2 + a.decoder_layers * (target**2 + source * target)
    return 2.0 * (a.encoder_layers * encoder + a.decoder_layers * decoder), pairs * attention


def _size(linear: shapes.Linear) -> int:
    return linear.inputs * linear.outputs


def _adapters(architecture: Architecture, workload: Workload, source: int, target: int) -> float:
    """Return the forward operations of the adapters, each over the tokens of its stack (the longer one for cross)."""
    tokens = max(source, target) if architecture.seq2seq else source
    return 2.0 * tokens * shapes.lora_parameters(architecture, workload.lora)
