"""Predicted memory of training, on the device and on the host, from shapes alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from autobatch import settings
from autobatch.estimate import shapes, simulate
from autobatch.estimate.network import Numerics
from autobatch.estimate.simulate import Arm, Peak
from autobatch.settings import Configuration
from autobatch.workload.spec import Workload

GIB = 2**30
CONTEXT_BYTES = round(1.22 * GIB)
"""CUDA context and libraries, as NVML reports them beside the allocator's bytes (H100, CUDA 13)."""
_HALF = frozenset({"bf16", "fp16"})


@dataclass(frozen=True)
class Prediction:
    """A predicted number of bytes.

    Attributes:
        bytes: the caching allocator's peak of reserved bytes; for the host, the working set of the whole process tree.
        rel_sigma: standard deviation of the logarithm of measured over predicted.
        parts: bytes by cause; they sum to `bytes`.
        context_bytes: what the device holds beside the allocator: CUDA context and libraries.

    """

    bytes: int
    rel_sigma: float
    parts: dict[str, int]
    context_bytes: int = 0

    @property
    def used_bytes(self) -> int:
        """What the card reports for the process, to hold against a limit."""
        return self.bytes + self.context_bytes


@dataclass(frozen=True)
class Loop:
    """How the training loop differs from a bare one."""

    embeddings_full: bool = True
    """8-bit optimizers keep 32-bit state for embeddings: the Trainer sees to that."""
    nested_scales: bool = False
    """nf4 scales are quantised themselves."""
    plain_adapters: bool = False
    """Adapters of quantised layers are peft's plain ones, which read fp32, as it makes them for an unmarked model."""
    t5_fused: bool = True
    """T5 attends by `scaled_dot_product_attention`; older releases of transformers write its scores out."""
    smooths_labels: bool = True
    """The loss is taken with smoothed labels where the recipe says so."""
    accumulates: bool = True
    """Gradients of one micro-step stay for the next where the configuration accumulates."""


TRAINER = Loop()


def predict(
    workload: Workload,
    configuration: Configuration,
    *,
    source_tokens: int | None = None,
    target_tokens: int | None = None,
    loop: Loop = TRAINER,
) -> Prediction:
    """Predict the device memory of training on the longest batch.

    Args:
        workload: model, adapter and lengths.
        configuration: every setting; method and quantisation are taken from here.
        source_tokens: tokens a sample; the longest of the workload unless given.
        target_tokens: the same of the target, for an encoder-decoder.
        loop: how the training loop differs from a bare one.

    Raises:
        UsageError: the model's architecture is not known.

    """
    longest = longest_tokens(workload)
    source, target = source_tokens or longest[0], target_tokens or longest[1]
    arm = arm_of(workload, configuration, source, target, loop)
    peak = peak_of(arm, configuration.micro_batch)
    activations = peak.allocated - peak.weights - peak.gradients - peak.states
    parts = {
        "weights": peak.weights,
        "gradients": peak.gradients,
        "optimizer": peak.states,
        "activations": activations,
        "fragmentation": peak.reserved - peak.allocated,
    }
    return Prediction(peak.reserved, _sigma(arm, configuration), parts, CONTEXT_BYTES)


def longest_tokens(workload: Workload) -> tuple[int, int]:
    """Return the longest source and target that a batch can hold, in tokens; the target is 0 for a causal model."""
    lengths = workload.lengths
    source = min(lengths.source[-1], workload.max_source_length)
    if workload.model.family == "causal":
        return source, 0
    target = lengths.target[-1] if lengths.target else workload.max_target_length or source
    return source, min(target, workload.max_target_length or target)


def arm_of(workload: Workload, configuration: Configuration, source: int, target: int, loop: Loop = TRAINER) -> Arm:
    """Return all that memory depends on, but the micro-batch."""
    architecture = shapes.read(workload.model)
    half = configuration[settings.PRECISION] in _HALF
    lora = workload.lora if configuration[settings.METHOD] == "lora" else None
    attention = str(configuration[settings.ATTENTION])
    numerics = Numerics(
        base=2 if half and lora else 4,
        compute=2 if half else 4,
        autocast=half,
        lora=lora,
        quantization=str(configuration[settings.QUANTIZATION]),
        attention="eager" if architecture.block == "t5" and not loop.t5_fused else attention,
        liger=bool(configuration[settings.LIGER]),
        nested_scales=loop.nested_scales,
        plain_adapters=loop.plain_adapters,
        smoothing=loop.smooths_labels and float(workload.recipe.get("label_smoothing_factor") or 0) > 0,
    )
    return Arm(
        architecture,
        numerics,
        optim=str(configuration[settings.OPTIM]),
        checkpointing=bool(configuration[settings.CHECKPOINTING]),
        source=source,
        target=target,
        embeddings_full=loop.embeddings_full,
        micro_steps=min(configuration.accumulation, 2) if loop.accumulates else 1,
    )


@cache
def peak_of(arm: Arm, batch: int) -> Peak:
    """Return what the simulation of this arm comes to; each is run once."""
    return simulate.run(arm, batch)


def _sigma(arm: Arm, configuration: Configuration) -> float:
    sigma = 0.04 if arm.architecture.known else 0.25
    return sigma + 0.1 * bool(configuration[settings.COMPILE]) + 0.1 * bool(configuration[settings.LIGER])
