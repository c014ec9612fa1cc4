"""Layers of each family, as transformers runs them, and the whole forward pass to the loss."""

from __future__ import annotations

from collections.abc import Callable

from autobatch.estimate.network import FULL, Module, Network, Norm
from autobatch.estimate.tape import Tensor

_GELU_COMPOSED = frozenset({"gelu_new"})
"""Activations written in elementwise operations, each of which keeps its operands."""


class Attention:
    """Queries, keys, values and output, for self or cross attention."""

    def __init__(self, network: Network, prefix: str = "") -> None:
        self.network = network
        self.modules: list[Module] = [network.module(linear) for linear in network.shape.attention(prefix)]
        self.norms: list[Norm] = [network.norm(network.shape.head_width) for _ in range(2 * network.shape.qk_norm)]

    def __call__(self, x: Tensor, batch: int, memory: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """Attend to `memory`, or to x itself."""
        if len(self.modules) == 2:  # noqa: PLR2004 - one fused projection, and the output
            return self._fused_projection(x, batch)
        source = x if memory is None else memory
        q = self._normalise(self.modules[0](x), 0)
        k = self._normalise(self.modules[1](source), 1)
        v = self.modules[2](source)
        q, k = self._rotate(q, x), self._rotate(k, x)
        return self.modules[3](self.network.attend(q, k, v, batch, bias))

    def _fused_projection(self, x: Tensor, batch: int) -> Tensor:
        tape = self.network.tape
        joined = self.modules[0](x)
        q, k, v = (tape.view(joined, joined.numel // 3) for _ in range(3))
        del joined
        q, k = self._rotate(q, x), self._rotate(k, x)
        return self.modules[1](self._in_order(self.network.attend(q, k, v, batch)))

    def _in_order(self, x: Tensor) -> Tensor:
        """Copy the result of fused attention where it lies head by head, as GPT-NeoX's joined rotary halves do."""
        if self.network.shape.block != "neox" or self.network.numerics.attention == "eager":
            return x
        return self.network.tape.unary(x)

    def _normalise(self, x: Tensor, index: int) -> Tensor:
        return self.norms[index](x) if self.norms else x

    def _rotate(self, x: Tensor, hidden: Tensor) -> Tensor:
        if self.network.shape.block not in {"llama", "neox"}:
            return x
        tape, width = self.network.tape, max(x.width, hidden.width)
        direct = tape.unary(x, width=width)
        half = tape.op(x.numel // 2, x.width, (x,))
        turned = tape.op(x.numel, x.width, (half, x))
        del half
        turned = tape.unary(turned, width=width)
        return tape.add(direct, turned)


class FeedForward:
    """The feed-forward network, gated or not."""

    def __init__(self, network: Network, inner: int) -> None:
        self.network = network
        *self.into, self.back = [network.module(linear) for linear in network.shape.feed_forward(inner)]

    def __call__(self, x: Tensor) -> Tensor:
        """Apply it."""
        tape = self.network.tape
        h = self._activate(self.into[0](x))
        if len(self.into) > 1:
            h = tape.mul(h, self.into[1](x))
        if self.network.shape.block == "t5":
            h = tape.dropout(h, self.network.shape.dropout)
        return self.back(h)

    def _activate(self, x: Tensor) -> Tensor:
        tape = self.network.tape
        if self.network.shape.activation not in _GELU_COMPOSED:
            relu = self.network.shape.activation == "relu"
            return tape.unary(x, save_input=not relu, save_output=relu)
        cubed = tape.unary(tape.cast(x, 4) if self.network.numerics.autocast else x, save_input=True)
        inner = tape.add(x, tape.unary(cubed))
        del cubed
        curve = tape.unary(tape.unary(inner), save_output=True)
        return tape.mul(tape.unary(x), tape.unary(curve))


class Layer:
    """One layer of an encoder or decoder."""

    def __init__(self, network: Network, *, inner: int, cross: bool) -> None:
        self.network = network
        self.attention, self.attention_norm = Attention(network), network.norm()
        self.cross = (Attention(network, "cross."), network.norm()) if cross else None
        self.feed_forward, self.last_norm = FeedForward(network, inner), network.norm()

    def post_norm(self, x: Tensor, batch: int, memory: Tensor | None) -> Tensor:
        """Run as BART does: each residual sum is normalised."""
        x = self.attention_norm(self._join(x, self.attention(x, batch)))
        if self.cross is not None:
            x = self.cross[1](self._join(x, self.cross[0](x, batch, memory)))
        return self.last_norm(self._join(x, self.feed_forward(x)))

    def pre_norm(
        self, x: Tensor, batch: int, memory: Tensor | None, bias: Tensor | None, cross_bias: Tensor | None
    ) -> Tensor:
        """Run as T5, Llama and GPT-2 do: each branch's input is normalised."""
        x = self._join(x, self.attention(self.attention_norm(x), batch, bias=bias))
        if self.cross is not None:
            x = self._join(x, self.cross[0](self.cross[1](x), batch, memory, cross_bias))
        return self._join(x, self.feed_forward(self.last_norm(x)))

    def parallel(self, x: Tensor, batch: int) -> Tensor:
        """Run as GPT-NeoX does: both branches read the same input."""
        tape = self.network.tape
        attended = self.attention(self.attention_norm(x), batch)
        return tape.add(tape.add(self.feed_forward(self.last_norm(x)), attended), x)

    def _join(self, residual: Tensor, branch: Tensor) -> Tensor:
        branch = self.network.tape.dropout(branch, self.network.shape.dropout)
        return self.network.tape.add(residual, branch)


class Model:
    """A whole model: embeddings, stacks, head and loss."""

    def __init__(self, network: Network) -> None:
        shape = network.shape
        self.network, self.tape, self.shape = network, network.tape, shape
        self.encoder = [Layer(network, inner=shape.inner, cross=False) for _ in range(shape.encoder_layers)]
        inner, cross = shape.decoder_inner, shape.seq2seq
        self.decoder = [Layer(network, inner=inner, cross=cross) for _ in range(shape.decoder_layers)]
        self.outer_norms = [network.norm() for _ in range(2 if shape.seq2seq else 1)]

    def loss(self, batch: int, source: int, target: int, *, checkpointing: bool) -> Tensor:
        """Run forward to the loss, over `batch` samples of so many tokens."""
        if not self.shape.seq2seq:
            return self._causal_loss(self._stack(self.decoder, batch, source, None, 0, checkpointing=checkpointing))
        memory = self._stack(self.encoder, batch, source, None, 0, checkpointing=checkpointing)
        out = self._stack(self.decoder, batch, target, memory, 1, checkpointing=checkpointing)
        return self._seq2seq_loss(out)

    def _stack(
        self, layers: list[Layer], batch: int, length: int, memory: Tensor | None, index: int, *, checkpointing: bool
    ) -> Tensor:
        embedded = self._embed(batch, length, trained=checkpointing)
        x = self._place(embedded, length, index)
        biases = self._biases(batch, length, memory, index, trained=checkpointing)
        for layer in layers:
            run = self._runner(layer, batch)
            inputs = [t for t in (x, memory, *biases) if t is not None]
            x = self.tape.checkpoint(run, *inputs) if checkpointing else run(*inputs)
            del inputs
        del embedded
        return x if self.shape.block == "bart" else self._drop(self.outer_norms[index](x))

    def _runner(self, layer: Layer, batch: int) -> Callable[..., Tensor]:
        block, cross = self.shape.block, layer.cross is not None

        def run(x: Tensor, *others: Tensor) -> Tensor:
            memory, *biases = others if cross else (None, *others)
            bias, cross_bias = (*biases, None, None)[:2]
            if block == "bart":
                return layer.post_norm(x, batch, memory)
            if self.shape.parallel_residual:
                return layer.parallel(x, batch)
            return layer.pre_norm(x, batch, memory, bias, cross_bias)

        return run

    def _embed(self, batch: int, length: int, *, trained: bool) -> Tensor:
        """Look tokens up. The code of every family holds the result until its stack has run."""
        network = self.network
        wanted = trained and network.numerics.lora is not None
        x = self.tape.op(batch * length * self.shape.width, network.numerics.base, (network.words,), trained=wanted)
        return self.tape.unary(x) if self.shape.block == "bart" else x

    def _place(self, x: Tensor, length: int, index: int) -> Tensor:
        tape, network, width = self.tape, self.network, self.shape.width
        if network.positions:
            x = tape.add(x, tape.op(length * width, network.numerics.base, (network.positions[index],)))
        if self.shape.block == "bart":
            x = self.outer_norms[index](x)
        return self._drop(x)

    def _biases(self, batch: int, length: int, memory: Tensor | None, index: int, *, trained: bool) -> list[Tensor]:
        """Make T5's position biases. That of cross attention is zero, but marked as trained under checkpointing."""
        if self.shape.block != "t5":
            return []
        heads, numerics = self.shape.heads, self.network.numerics
        own = self.tape.op(heads * length * length, numerics.base, (self.network.buckets[index],))
        if memory is None:
            return [own]
        keys = memory.numel // (batch * self.shape.width)
        return [own, self.tape.new(heads * length * keys, numerics.compute, trained=trained)]

    def _drop(self, x: Tensor) -> Tensor:
        return self.tape.dropout(x, self.shape.dropout) if self.shape.block != "llama" else x

    def _causal_loss(self, x: Tensor) -> Tensor:
        tape = self.tape
        if self.network.numerics.liger:
            return self._fused_loss(x)
        if self.network.numerics.smoothing:
            return self._smoothed_loss(tape.linear(x, self.network.head, self.shape.vocabulary), shifts=True)
        logits = tape.linear(x, self.network.head, self.shape.vocabulary)
        full = tape.cast(logits, FULL)
        return self._cross_entropy(full)

    def _seq2seq_loss(self, x: Tensor) -> Tensor:
        tape = self.tape
        if self.shape.block == "t5" and self.shape.tied:
            x = tape.unary(x)
        logits = tape.linear(x, self.network.head, self.shape.vocabulary)
        if self.shape.block == "bart":
            logits = tape.op(logits.numel, 4, (logits,))
        if self.network.numerics.smoothing:
            return self._smoothed_loss(logits, shifts=False)
        return self._cross_entropy(logits)

    def _smoothed_loss(self, logits: Tensor, *, shifts: bool) -> Tensor:
        """Take the Trainer's label smoothing: outside autocast, from logits that accelerate has made fp32."""
        tape = self.tape
        full = tape.cast(logits, FULL)
        del logits  # the model's own are gone by then
        shifted = tape.op(full.numel, FULL, (full,)) if shifts else full
        logarithms = tape.unary(shifted, save_output=True)
        # one operation for gather and sum: the sum's gradient is a view and takes no memory
        return tape.op(1, FULL, (tape.unary(logarithms),))

    def _cross_entropy(self, logits: Tensor) -> Tensor:
        """Take the logarithm of the softmax in fp32, straight from the logits, and the loss of it."""
        tape = self.tape
        logarithms = tape.unary(logits, save_output=True, width=FULL)
        return tape.op(1, 4, (logarithms,), (logarithms,))

    def _fused_loss(self, x: Tensor) -> Tensor:
        """Take the loss in chunks, as Liger does: no logits are kept, the input's gradient is made at once."""
        tape, head = self.tape, self.network.head
        save = [tape.new(x.numel, x.width)]
        if head.trained:
            save.append(tape.new(head.numel, 4))
        return tape.op(1, 4, (x, head), save)
