"""Training by shapes alone: operations that hold and free memory as PyTorch's do, and nothing else.

A `Tensor` here has a size and no values. Every operation allocates its result, keeps what its backward pass needs, and
lets go of the rest when no one names it any more: the life of a storage is that of its Python object, as in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autobatch.estimate.allocator import Allocator


class Storage:
    """Device memory; it is given back when nobody refers to it."""

    __slots__ = ("_allocator", "_block", "size")

    def __init__(self, allocator: Allocator, size: int) -> None:
        self._allocator, self._block, self.size = allocator, allocator.allocate(size), size

    def __del__(self) -> None:
        self._allocator.release(self._block)


class Slot:
    """Where the gradient of a tensor arrives."""

    __slots__ = ("gradient", "shared", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.gradient: Storage | None = None
        self.shared = False
        """Whether another slot holds the same memory, so that it cannot be added to in place."""


class Tensor:
    """Elements, bytes an element, memory, and the gradient's slot where one is wanted."""

    __slots__ = ("numel", "slot", "storage", "width")

    def __init__(self, storage: Storage, numel: int, width: int, slot: Slot | None = None) -> None:
        self.storage, self.numel, self.width, self.slot = storage, numel, width, slot

    @property
    def trained(self) -> bool:
        """Whether a gradient flows to it."""
        return self.slot is not None


Slots = Sequence[Slot | None]


class Frame:
    """A checkpointed layer: what it computes, from what, and, once it has run again, what its operations save."""

    __slots__ = ("inputs", "layer", "saved", "saves")

    def __init__(self, layer: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
        self.layer, self.inputs = layer, inputs
        self.saves = 0
        self.saved: list[list[Storage]] | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """One operation to run backward."""

    slot: Slot
    """Where the result's gradient arrives."""
    inputs: Slots
    saved: list[Storage] | None
    frame: Frame | None
    index: int
    """Number of this operation among those of `frame` that save something."""
    scratch: int
    passes: bool


class Tape:
    """Runs operations forward and records how to run them backward.

    Args:
        allocator: where memory comes from.
        compute_width: bytes an element of matrix products under autocast to bf16 or fp16; 0: the operands' own.

    """

    def __init__(self, allocator: Allocator, compute_width: int = 0) -> None:
        self.allocator, self.autocast = allocator, compute_width
        self.nodes: list[Node] = []
        self._casts: dict[Tensor, Tensor] = {}
        self._frame: Frame | None = None
        self._recomputing = False

    def new(self, numel: int, width: int, *, trained: bool = False) -> Tensor:
        """Allocate a tensor: a parameter, or an input."""
        slot = Slot(numel * width) if trained else None
        return Tensor(Storage(self.allocator, numel * width), numel, width, slot)

    def op(
        self,
        numel: int,
        width: int,
        inputs: Sequence[Tensor],
        save: Sequence[Tensor] = (),
        *,
        save_output: bool = False,
        late: bool = False,
        pinned: Sequence[Tensor] = (),
        scratch: int = 0,
        passes: bool = False,
        trained: bool = False,
    ) -> Tensor:
        """Run one operation: allocate the result, and keep `save` for the backward pass.

        Args:
            numel: elements of the result.
            width: bytes an element of it.
            inputs: what it is made of; where one is trained, or `trained` is set, so is the result.
            save: tensors that the backward pass needs.
            save_output: whether it needs the result as well.
            late: whether what is saved is known only after the operation has run.
            pinned: tensors that the operation keeps by itself, out of reach of checkpointing.
            scratch: further bytes that the backward pass takes while it runs.
            passes: whether the inputs' gradients are the result's own, not memory of their own.
            trained: see `inputs`.

        """
        slots = [t.slot for t in inputs]
        if not trained and not any(slots):
            return Tensor(Storage(self.allocator, numel * width), numel, width)
        slot, frame = Slot(numel * width), self._frame
        kept = [t.storage for t in save]
        saves = bool(kept) or save_output
        if self._recomputing:
            late = late or save_output
            return Tensor(self._recomputed(numel * width, kept, saves, save_output, late), numel, width, slot)
        storage = Storage(self.allocator, numel * width)
        held = [t.storage for t in pinned]
        if frame is None:
            saved = [*held, *kept, storage] if save_output else held + kept
            self.nodes.append(Node(slot, slots, saved, None, 0, scratch, passes))
        else:
            self.nodes.append(Node(slot, slots, held, frame if saves else None, frame.saves, scratch, passes))
            frame.saves += saves
        return Tensor(storage, numel, width, slot)

    def _recomputed(self, size: int, kept: list[Storage], saves: bool, output: bool, late: bool) -> Storage:
        """Run an operation again; after the last one that saves something, nothing is computed any more."""
        assert self._frame is not None
        done, wanted = self._frame.saved, self._frame.saves
        assert done is not None
        if len(done) + (saves and not late) >= wanted:
            size = 0
        storage = Storage(self.allocator, size)
        if saves:
            done.append([*kept, storage] if output else kept)
        return storage

    def cast(self, x: Tensor, width: int) -> Tensor:
        """Convert to `width` bytes an element; no copy where it has them."""
        return x if x.width == width else self.op(x.numel, width, (x,))

    def weight(self, parameter: Tensor) -> Tensor:
        """Return a parameter as matrix products take it: under autocast a copy, kept until the pass is over."""
        if not self.autocast or parameter.width == self.autocast:
            return parameter
        if parameter not in self._casts:
            copy = self.cast(parameter, self.autocast)
            if not parameter.trained:
                return copy
            self._casts[parameter] = copy
        return self._casts[parameter]

    def leave_autocast(self) -> None:
        """Drop the copies of parameters that autocast kept."""
        self._casts.clear()

    def view(self, x: Tensor, numel: int) -> Tensor:
        """Name a part of a tensor: it shares the memory, and its gradient is put back into the whole."""
        slot = None
        if x.slot is not None:
            slot = Slot(numel * x.width)
            if not self._recomputing:
                self.nodes.append(Node(slot, [x.slot], None, None, 0, 0, passes=False))
        return Tensor(x.storage, numel, x.width, slot)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """Add; the gradient is passed on, not copied."""
        return self.op(max(x.numel, y.numel), max(x.width, y.width), (x, y), passes=True)

    def mul(self, x: Tensor, y: Tensor) -> Tensor:
        """Multiply; each factor is kept where the other is trained."""
        save = [a for a, b in ((x, y), (y, x)) if b.trained]
        return self.op(max(x.numel, y.numel), max(x.width, y.width), (x, y), save)

    def unary(self, x: Tensor, *, save_input: bool = False, save_output: bool = False, width: int = 0) -> Tensor:
        """Apply an elementwise function of one tensor."""
        return self.op(x.numel, width or x.width, (x,), (x,) if save_input else (), save_output=save_output)

    def dropout(self, x: Tensor, p: float) -> Tensor:
        """Drop elements; the mask, one byte an element, is kept."""
        if p == 0:
            return x
        return self.op(x.numel, x.width, (x,), (self.new(x.numel, 1),), late=True)

    def linear(self, x: Tensor, weight: Tensor, outputs: int) -> Tensor:
        """Multiply by a weight of `outputs` rows: the input is kept for the weight, the weight for the input."""
        x = self.cast(x, self.autocast) if self.autocast else x
        w = self.weight(weight)
        rows = x.numel // (weight.numel // outputs)
        save = [a for a, b in ((x, w), (w, x)) if b.trained]
        return self.op(rows * outputs, x.width, (x, w), save)

    def checkpoint(self, layer: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """Run a layer keeping only its inputs; the backward pass runs it again."""
        self._frame = Frame(layer, inputs)
        out = layer(*inputs)
        self._frame = None
        return out

    def backward(self, loss: Tensor) -> None:
        """Run every recorded operation backward, and forget it."""
        assert loss.slot is not None
        loss.slot.gradient = Storage(self.allocator, loss.slot.size)
        while self.nodes:
            node = self.nodes.pop()
            gradient, node.slot.gradient = node.slot.gradient, None
            if gradient is None:
                continue
            saved = self._saved(node)
            self._propagate(gradient, node.slot, node.inputs, node.scratch, passes=node.passes)
            del gradient, saved, node

    def _saved(self, node: Node) -> list[Storage] | None:
        frame = node.frame
        if frame is None:
            return node.saved
        if frame.saved is None:
            self._recompute(frame)
        assert frame.saved is not None
        saved, frame.saved[node.index] = frame.saved[node.index], []
        return saved

    def _recompute(self, frame: Frame) -> None:
        frame.saved = []
        casts, self._casts = self._casts, {}
        self._frame, self._recomputing = frame, True
        frame.layer(*frame.inputs)
        self._frame, self._recomputing = None, False
        self._casts = casts

    def _propagate(self, gradient: Storage, slot: Slot, slots: Slots, scratch: int, *, passes: bool) -> None:
        held = Storage(self.allocator, scratch) if scratch else None
        wanted = [s for s in slots if s is not None]
        for target in wanted:
            if passes and target.size == slot.size:
                self._arrive(target, gradient, shared=slot.shared or len(wanted) > 1)
            else:
                self._arrive(target, Storage(self.allocator, target.size), shared=False)
        del held

    def _arrive(self, slot: Slot, gradient: Storage, *, shared: bool) -> None:
        if slot.gradient is None:
            slot.gradient, slot.shared = gradient, shared
        elif slot.shared:
            slot.gradient, slot.shared = Storage(self.allocator, slot.size), False
