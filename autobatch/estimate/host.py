"""Predicted host memory of training, by DataLoader workers."""

from __future__ import annotations

from autobatch import settings
from autobatch.estimate import shapes, simulate
from autobatch.estimate.memory import GIB, Prediction, longest_tokens
from autobatch.settings import Configuration
from autobatch.workload.spec import Workload

BASE_BYTES = 3 * GIB
"""Python, PyTorch, transformers and the host side of CUDA, as a working set: a cautious round figure."""
WORKER_BYTES = 64 << 20
"""What a forked worker that has started owns by itself; it shares the rest with its parent."""
TOKEN_BYTES = 36
"""A token in a Python list: a pointer and an integer. Counting references makes a worker copy what it reads."""
_LABEL_AND_MASK = 3
_INTEGER_BYTES = 8


def predict_host(workload: Workload, configuration: Configuration) -> Prediction:
    """Predict the working set of the whole process tree.

    It is the base, plus the data as token lists, plus for each worker its own memory, a copy of the data, and the
    batches it has ready (`prefetch_factor` of input ids, mask and labels as 64-bit integers, pinned once more), plus
    the state of a paged optimizer, which lies in memory that the device shares with the host.

    Raises:
        UsageError: a paged optimizer, and the model's architecture is not known.

    """
    workers = int(configuration[settings.WORKERS])
    data = round(workload.train_samples * _mean_tokens(workload) * TOKEN_BYTES)
    longest = sum(longest_tokens(workload))
    batch = configuration.micro_batch * longest * _INTEGER_BYTES * _LABEL_AND_MASK
    pinned = 1 + bool(configuration[settings.PIN_MEMORY])
    parts = {
        "base": BASE_BYTES,
        "data": data,
        "workers": workers * (WORKER_BYTES + data),
        "batches": workers * int(configuration[settings.PREFETCH]) * batch * pinned,
        "optimizer": _paged_bytes(workload, configuration),
    }
    return Prediction(sum(parts.values()), 0.3, parts)


def _mean_tokens(workload: Workload) -> float:
    lengths = workload.lengths
    return sum(sum(quantiles) / len(quantiles) for quantiles in (lengths.source, lengths.target) if quantiles)


def _paged_bytes(workload: Workload, configuration: Configuration) -> int:
    optim = str(configuration[settings.OPTIM])
    if "paged" not in optim:
        return 0
    architecture = shapes.read(workload.model)
    lora = configuration[settings.METHOD] == "lora"
    trained = shapes.lora_parameters(architecture, workload.lora) if lora else architecture.parameters
    return sum(simulate.state_sizes(optim.removeprefix("paged_"), trained))
