"""Two optimizer steps by shapes: the memory that training reserves."""

from __future__ import annotations

from dataclasses import dataclass

from autobatch.estimate.allocator import Allocator
from autobatch.estimate.blocks import Model
from autobatch.estimate.network import Network, Numerics
from autobatch.estimate.shapes import Architecture
from autobatch.estimate.tape import Storage, Tape, Tensor

_WORKSPACE = 32 << 20
"""cuBLAS workspace of each thread that multiplies (forward and backward) on Hopper."""
_SMALL_STATE = 4096
_STATE_BLOCK = 256


@dataclass(frozen=True)
class Arm:
    """All that memory depends on, but the micro-batch."""

    architecture: Architecture
    numerics: Numerics
    optim: str
    checkpointing: bool
    source: int
    target: int
    embeddings_full: bool = True
    """Whether 8-bit optimizers keep 32-bit state for embeddings, as the Trainer has them do."""
    micro_steps: int = 1
    """Micro-steps of one optimizer step: gradients stay from the first to the next."""


@dataclass(frozen=True)
class Peak:
    """What two optimizer steps came to, in bytes."""

    reserved: int
    allocated: int
    weights: int
    gradients: int
    states: int
    operations: int
    """Allocations of one micro-step: nearly its kernels."""
    written: int
    """Bytes that one micro-step allocates in all: nearly what its kernels write."""


def run(arm: Arm, batch: int) -> Peak:
    """Train two optimizer steps at a micro-batch of `batch` samples.

    The optimizer's state is there from the start, as it is when several micro-batches are tried in one process. In a
    fresh one it comes with the first step, into what the activations left, and reserved memory scatters about this.
    """
    allocator = Allocator()
    numerics = arm.numerics
    tape = Tape(allocator, numerics.compute if numerics.autocast else 0)
    network = Network(tape, arm.architecture, numerics)
    model = Model(network)
    weights = allocator.allocated
    workspaces = [Storage(allocator, _WORKSPACE) for _ in range(2)]
    trained = network.trained
    states = _states(allocator, arm, trained, network.words)
    count, total = allocator.count, allocator.total
    for _ in range(2):
        for _ in range(arm.micro_steps):
            _micro_step(tape, model, arm, batch)
        _update(allocator, arm, trained)
        for tensor in trained:
            assert tensor.slot is not None
            tensor.slot.gradient = None
    done = 2 * arm.micro_steps
    count, total = (allocator.count - count) // done, (allocator.total - total) // done
    held = allocator.allocated
    del states
    held -= allocator.allocated
    gradients = sum(t.slot.size for t in trained if t.slot)
    del workspaces
    return Peak(allocator.reserved, allocator.peak_allocated, weights, gradients, held, count, total)


def _micro_step(tape: Tape, model: Model, arm: Arm, batch: int) -> None:
    loss = model.loss(batch, arm.source, arm.target, checkpointing=arm.checkpointing)
    tape.leave_autocast()
    tape.backward(loss)


def _states(allocator: Allocator, arm: Arm, trained: list[Tensor], words: Tensor) -> list[Storage]:
    states = []
    for tensor in trained:
        full = tensor is words and arm.embeddings_full
        states += [Storage(allocator, size) for size in state_sizes(arm.optim, tensor.numel, full=full)]
    return states


def state_sizes(optim: str, numel: int, *, full: bool = False) -> tuple[int, ...]:
    """Return the sizes in bytes of the optimizer's state of one parameter that stay on the device."""
    if optim == "adafactor":
        return (8 * round(numel**0.5),)
    if "8bit" not in optim or full or numel < _SMALL_STATE:
        return () if "paged" in optim and numel >= _SMALL_STATE else (4 * numel, 4 * numel)
    scales = 4 * -(-numel // _STATE_BLOCK)
    return (scales, scales) if "paged" in optim else (numel, scales, numel, scales)


def _update(allocator: Allocator, arm: Arm, trained: list[Tensor]) -> None:
    if arm.optim == "adafactor":
        largest = max(t.numel for t in trained)
        temporaries = [Storage(allocator, 4 * largest) for _ in range(2)]
        del temporaries
