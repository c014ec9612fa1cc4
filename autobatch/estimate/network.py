"""A network by shapes: its parameters, and how each kind of layer runs, with the life times of the real code."""

from __future__ import annotations

from dataclasses import dataclass

from autobatch.estimate import shapes
from autobatch.estimate.shapes import Architecture, Linear
from autobatch.estimate.tape import Storage, Tape, Tensor
from autobatch.workload.spec import Lora

_NF4_BLOCK = 64
_FUSED_ROWS = 1536
"""Up to so many rows bitsandbytes multiplies without writing the dequantised weight out."""
HALF = 2
"""Bytes of a bf16 or fp16 element."""
FULL = 4
"""Bytes of an fp32 element."""


@dataclass(frozen=True)
class Numerics:
    """Widths in bytes an element, and what is trained.

    Attributes:
        base: the model's own weights.
        compute: matrix products; 2 under autocast.
        autocast: whether products run in a narrower type than the weights.
        lora: the adapter, or None where every weight is trained.
        quantization: of the linear layers: none, int8 or nf4.
        attention: eager, or any other for fused kernels where they serve.
        liger: whether the loss is taken in chunks, without logits.
        nested_scales: whether nf4 scales are quantised themselves.
        plain_adapters: whether adapters of quantised layers read fp32, as those of plain layers do.
        smoothing: whether the Trainer takes the loss itself, with smoothed labels.

    """

    base: int
    compute: int
    autocast: bool
    lora: Lora | None
    quantization: str
    attention: str
    liger: bool = False
    nested_scales: bool = False
    plain_adapters: bool = False
    smoothing: bool = False


class Module:
    """A linear layer with its adapter."""

    def __init__(self, tape: Tape, linear: Linear, numerics: Numerics, *, adapted: bool, quantized: bool) -> None:
        self.tape, self.linear, self.numerics = tape, linear, numerics
        self.quantized = quantized
        trained = numerics.lora is None
        size = linear.inputs * linear.outputs
        if quantized:
            self.weight = tape.new(_quantized_bytes(size, numerics), 1)
        else:
            self.weight = tape.new(size, numerics.base, trained=trained)
        self.bias = tape.new(linear.outputs, numerics.base, trained=trained) if linear.bias else None
        self.adapter: tuple[Tensor, Tensor] | None = None
        if adapted and numerics.lora:
            r = numerics.lora.r
            self.adapter = (
                tape.new(r * linear.inputs, 4, trained=True),
                tape.new(linear.outputs * r, 4, trained=True),
            )

    @property
    def parameters(self) -> list[Tensor]:
        """Weight, bias and adapter, as far as it has them."""
        return [t for t in (self.weight, self.bias, *(self.adapter or ())) if t is not None]

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        result = self._base(x)
        if self.adapter is None or self.numerics.lora is None:
            return result
        tape, lora = self.tape, self.numerics.lora
        own_kind = self.quantized and not self.numerics.plain_adapters
        if own_kind:
            result = tape.unary(result)
        if not (own_kind and self.numerics.autocast):
            x = tape.cast(x, FULL)
        down = tape.linear(tape.dropout(x, lora.dropout), self.adapter[0], lora.r)
        update = tape.unary(tape.linear(down, self.adapter[1], self.linear.outputs))
        total = tape.add(result, update)
        return tape.cast(total, result.width)

    def _base(self, x: Tensor) -> Tensor:
        tape, linear = self.tape, self.linear
        if not self.quantized:
            return tape.linear(x, self.weight, linear.outputs)
        width, rows = x.width, x.numel // linear.inputs
        x = tape.cast(x, self.numerics.compute)
        size = linear.inputs * linear.outputs
        dequantized = self.numerics.compute * size
        if self.numerics.quantization == "int8":
            held, pinned = [tape.new(x.numel, HALF).storage, tape.new(x.numel, 1).storage], [x]
        else:
            held, pinned = self._dequantized(rows, size), []
        out = tape.op(rows * linear.outputs, self.numerics.compute, (x,), pinned=pinned, scratch=dequantized)
        held.clear()
        return tape.cast(out, width)

    def _dequantized(self, rows: int, size: int) -> list[Storage]:
        """Write an nf4 weight out in half or full precision, and its scales if they are quantised themselves."""
        if rows <= _FUSED_ROWS:
            return []
        scales = [FULL * size // _NF4_BLOCK] * 2 if self.numerics.nested_scales else []
        return [Storage(self.tape.allocator, n) for n in (*scales, self.numerics.compute * size)]


def _quantized_bytes(size: int, numerics: Numerics) -> int:
    if numerics.quantization == "int8":
        return size
    return size // 2 + size // _NF4_BLOCK * (1 if numerics.nested_scales else 4)


class Norm:
    """A layer norm (LayerNorm, Llama's or T5's RMS norm)."""

    def __init__(self, tape: Tape, width: int, numerics: Numerics, kind: str) -> None:
        self.tape, self.kind, self.numerics, self.size = tape, kind, numerics, width
        trained = numerics.lora is None
        count = 2 if kind == "layer" else 1
        self.parameters = [tape.new(width, numerics.base, trained=trained) for _ in range(count)]

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise."""
        if self.kind == "layer":
            return self._layer(x)
        return self._rms(x)

    def _layer(self, x: Tensor) -> Tensor:
        tape = self.tape
        x = tape.cast(x, 4) if self.numerics.autocast else x
        rows = x.numel // self.size
        statistics = [tape.new(rows, 4), tape.new(rows, 4)]
        return tape.op(x.numel, x.width, (x, *self.parameters), (x, *statistics), late=True)

    def _rms(self, x: Tensor) -> Tensor:
        tape, weight = self.tape, self.parameters[0]
        width, rows = x.width, x.numel // self.size
        full = tape.cast(x, 4)
        squares = tape.unary(full, save_input=True)
        if self.kind == "rms":
            x = full
        del full
        scale = tape.op(rows, 4, (squares,))
        del squares
        scale = tape.unary(tape.unary(scale), save_output=True)
        x = tape.mul(x, scale)
        if self.kind == "rms":
            return tape.mul(weight, tape.cast(x, width))
        return tape.mul(weight, tape.cast(x, weight.width) if weight.width == HALF else x)


class Network:
    """The parameters of a model, and how its pieces run."""

    def __init__(self, tape: Tape, architecture: Architecture, numerics: Numerics) -> None:
        self.tape, self.shape, self.numerics = tape, architecture, numerics
        self.norm_kind = {"t5": "t5", "llama": "rms"}.get(architecture.block, "layer")
        self.modules: list[Module] = []
        self.norms: list[Norm] = []
        if numerics.lora is not None:
            shapes.lora_targets(architecture, numerics.lora)  # refuses an adapter of nothing
        trained = numerics.lora is None
        words = architecture.vocabulary * architecture.width
        self.words = tape.new(words, numerics.base, trained=trained)
        self.positions = [
            tape.new(architecture.positions * architecture.width, numerics.base, trained=trained)
            for _ in range(2 if architecture.seq2seq else 1)
            if architecture.positions
        ]
        self.buckets = [
            tape.new(architecture.buckets * architecture.heads, numerics.base, trained=trained)
            for _ in range(2)
            if architecture.buckets
        ]
        self.head = self.words if architecture.tied else tape.new(words, numerics.base, trained=trained)

    def module(self, linear: Linear) -> Module:
        """Make a linear layer."""
        lora, kind = self.numerics.lora, self.numerics.quantization
        adapted = lora is not None and shapes.is_target(linear.name, self.shape, lora)
        quantized = kind != "none" and not (self.shape.block == "t5" and linear.name == "wo")
        self.modules.append(Module(self.tape, linear, self.numerics, adapted=adapted, quantized=quantized))
        return self.modules[-1]

    def norm(self, width: int = 0) -> Norm:
        """Make a norm of the family's kind."""
        self.norms.append(Norm(self.tape, width or self.shape.width, self.numerics, self.norm_kind))
        return self.norms[-1]

    @property
    def parameters(self) -> list[Tensor]:
        """Every parameter, each once."""
        tables = [self.words, *self.positions, *self.buckets, *([] if self.shape.tied else [self.head])]
        norms = [parameter for norm in self.norms for parameter in norm.parameters]
        return tables + norms + [parameter for module in self.modules for parameter in module.parameters]

    @property
    def trained(self) -> list[Tensor]:
        """Every trained parameter, each once."""
        return [parameter for parameter in self.parameters if parameter.trained]

    def attend(self, q: Tensor, k: Tensor, v: Tensor, batch: int, bias: Tensor | None = None) -> Tensor:
        """Attend as the library does; sizes are elements of [batch, heads, length, head width].

        The fused kernels take no bias that is trained, and in fp32 no groups of heads: then the scores are written out.
        """
        rows = q.numel // self.shape.projected
        keys = k.numel // (self.shape.kv_heads * self.shape.head_width)
        scores = self.shape.heads * rows * keys // batch
        if self.numerics.attention == "eager":
            return self._eager(q, k, v, scores, bias)
        grouped = self.shape.kv_heads < self.shape.heads
        if (bias is not None and bias.trained) or (grouped and self.numerics.compute == FULL):
            return self._composed(q, k, v, scores, bias)
        return self._fused(q, k, v, bias)

    def _fused(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        tape, shape = self.tape, self.shape
        q, k, v = (tape.cast(t, self.numerics.compute) for t in (q, k, v))
        rows = q.numel // shape.projected
        sums = tape.new(rows * shape.heads, FULL)
        scratch = rows * shape.heads * FULL
        if self.numerics.compute == HALF and bias is None:  # flash attention sums gradients in fp32
            scratch += FULL * rows * shape.heads * (-(-shape.head_width // 32) * 32)
            scratch += 2 * HALF * (q.numel - k.numel) if shape.kv_heads < shape.heads else 0
        kept = (q, k, v, sums) if bias is None else (q, k, v, sums, tape.cast(bias, self.numerics.compute))
        return tape.op(q.numel, q.width, (q, k, v), kept, save_output=True, scratch=scratch)

    def _composed(self, q: Tensor, k: Tensor, v: Tensor, scores: int, bias: Tensor | None) -> Tensor:
        """Attend in elementary operations, in fp32, as `scaled_dot_product_attention` does where no kernel serves."""
        tape = self.tape
        q, k, v = (tape.cast(t, FULL) for t in (q, k, v))
        q, k, v = tape.unary(q), self._by_head(k), self._by_head(v)
        weights = tape.op(scores, FULL, (q, k) if bias is None else (q, k, bias), (q, k))
        masked = tape.new(scores, 1)
        weights = tape.unary(weights, save_output=True)
        del masked
        if self.shape.block == "t5":
            weights = tape.dropout(weights, self.shape.dropout)
        out = tape.cast(tape.op(q.numel, FULL, (weights, v), (weights, v)), self.numerics.compute)
        returned = tape.cast(weights, self.numerics.compute)
        del returned, weights
        return tape.unary(out)

    def _by_head(self, x: Tensor) -> Tensor:
        """Copy keys or values head by head, until each query head has its own."""
        return self.tape.op(x.numel * self.shape.heads // self.shape.kv_heads, x.width, (x,))

    def _eager(self, q: Tensor, k: Tensor, v: Tensor, scores: int, bias: Tensor | None) -> Tensor:
        tape, dropout = self.tape, self.shape.dropout if self.shape.block == "t5" else 0.0
        q, k, v = (tape.cast(t, self.numerics.compute) for t in (q, k, v))
        q, k, v = tape.unary(q), self._by_head(k), self._by_head(v)
        weights = tape.op(scores, q.width, (q, k), (q, k))
        weights = tape.unary(weights)
        if bias is not None:
            weights = tape.add(weights, bias)
        width = weights.width
        weights = tape.unary(tape.cast(weights, 4), save_output=True)
        if self.shape.block == "llama":
            weights = tape.cast(weights, width)
        weights = tape.cast(tape.dropout(weights, dropout), self.numerics.compute)
        return tape.op(q.numel, q.width, (weights, v), (weights, v))
