"""Training by shapes alone: operations that hold and free memory as PyTorch's do, and nothing else.

A `Tensor` here has a size and no values. Every operation allocates its result, keeps what its backward pass needs, and lets go
of the rest when no one names it any more: the life of a storage is that of its Python object, as in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from autobatch.estimate.allocator import Allocator


class Storage:
    """Device memory; it is given back when nobody refers to it."""

    __slots__ = ("_allocator", "_block")

    def __init__(self, allocator: Allocator, size: int) -> None:
        self._allocator, self._block = allocator, allocator.allocate(size)

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


Node = tuple[Slot, tuple[Slot | None, ...], Any, int, str]
"""Output's slot, inputs' slots, what is saved, scratch bytes of the backward pass, and its kind."""


class Tape:
    """Runs operations forward and records how to run them backward.

    Args:
        allocator: where memory comes from.
        compute_width: bytes an element of matrix products: 2 under autocast to bf16 or fp16, else 0 (the operands' own).

    """

    def __init__(self, allocator: Allocator, compute_width: int = 0) -> None:
        self.allocator, self.autocast = allocator, compute_width
        self.nodes: list[Any] = []
        self._casts: dict[Tensor, Tensor] = {}

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
        scratch: int = 0,
        kind: str = "own",
        trained: bool = False,
    ) -> Tensor:
        """Run one operation: allocate the result, keep `save` for the backward pass.

        `kind` says where the inputs' gradients come from: `own` memory each, or `pass` the result's gradient on.
        """
        storage = Storage(self.allocator, numel * width)
        return self._record(storage, numel, width, inputs, save, scratch, kind, trained=trained)

    def _record(
        self,
        storage: Storage,
        numel: int,
        width: int,
        inputs: Sequence[Tensor],
        save: Sequence[Tensor],
        scratch: int = 0,
        kind: str = "own",
        *,
        trained: bool = False,
    ) -> Tensor:
        slots = tuple(t.slot for t in inputs)
        if not trained and not any(slots):
            return Tensor(storage, numel, width)
        slot = Slot(numel * width)
        self.nodes.append((slot, slots, tuple(t.storage for t in save), scratch, kind))
        return Tensor(storage, numel, width, slot)

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

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """Add; the gradient is passed on, not copied."""
        return self.op(max(x.numel, y.numel), max(x.width, y.width), (x, y), kind="pass")

    def mul(self, x: Tensor, y: Tensor) -> Tensor:
        """Multiply; each factor is kept where the other is trained."""
        save = [a for a, b in ((x, y), (y, x)) if b.trained]
        return self.op(max(x.numel, y.numel), max(x.width, y.width), (x, y), save)

    def unary(self, x: Tensor, *, save_input: bool = False, save_output: bool = False, width: int = 0) -> Tensor:
        """Apply an elementwise function of one tensor."""
        out = self.op(x.numel, width or x.width, (x,), (x,) if save_input else ())
        if save_output and out.trained:
            slot, slots, saved, scratch, kind = self.nodes[-1]
            self.nodes[-1] = (slot, slots, (*saved, out.storage), scratch, kind)
        return out

    def dropout(self, x: Tensor, p: float) -> Tensor:
        """Drop elements; the mask, one byte an element, is kept."""
        if p == 0:
            return x
        mask = Tensor(Storage(self.allocator, x.numel), x.numel, 1)
        return self.op(x.numel, x.width, (x,), (mask,))

    def linear(self, x: Tensor, weight: Tensor, outputs: int) -> Tensor:
        """Multiply by a weight of `outputs` rows: the input is kept for the weight, the weight for the input."""
        x = self.cast(x, self.autocast) if self.autocast else x
        w = self.weight(weight)
        rows = x.numel // (weight.numel // outputs)
        save = [a for a, b in ((x, w), (w, x)) if b.trained]
        return self.op(rows * outputs, x.width, (x, w), save)

    def checkpoint(self, layer: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """Run a layer keeping only its inputs; the backward pass runs it again."""
        outer, self.nodes = self.nodes, []
        out = layer(*inputs)
        self.nodes = outer
        slot = Slot(out.numel * out.width)
        self.nodes.append((slot, tuple(t.slot for t in inputs), (layer, inputs), 0, "checkpoint"))
        return Tensor(out.storage, out.numel, out.width, slot)

    def backward(self, loss: Tensor) -> None:
        """Run every recorded operation backward, and forget it."""
        assert loss.slot is not None
        loss.slot.gradient = Storage(self.allocator, loss.slot.size)
        self._drain()

    def _drain(self) -> None:
        while self.nodes:
            slot, slots, saved, scratch, kind = self.nodes.pop()
            gradient, slot.gradient = slot.gradient, None
            if gradient is None:
                continue
            if kind == "checkpoint":
                self._recompute(gradient, slots, saved)
            else:
                self._propagate(gradient, slot, slots, scratch, passes=kind == "pass")

    def _propagate(
        self, gradient: Storage, slot: Slot, slots: tuple[Slot | None, ...], scratch: int, *, passes: bool
    ) -> None:
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

    def _recompute(self, gradient: Storage, slots: tuple[Slot | None, ...], saved: Any) -> None:
        layer, inputs = saved
        fresh = [Tensor(t.storage, t.numel, t.width, Slot(t.slot.size) if t.slot else None) for t in inputs]
        outer, self.nodes = self.nodes, []
        casts, self._casts = self._casts, {}
        last = layer(*fresh).slot
        self._casts = casts
        last.gradient = gradient
        del gradient
        self._drain()
        self.nodes = outer
        for slot, tensor in zip(slots, fresh, strict=True):
            if slot is not None and tensor.slot is not None and tensor.slot.gradient is not None:
                self._arrive(slot, tensor.slot.gradient, shared=False)
