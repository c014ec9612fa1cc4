"""A model's architecture, read from its transformers configuration: layer shapes and exact parameter counts."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from autobatch.errors import UsageError
from autobatch.safe_files import read_json
from autobatch.workload.spec import Lora, Model

Block = Literal["bart", "t5", "llama", "neox", "gpt2"]

BLOCKS: Mapping[str, Block] = {
    **dict.fromkeys(("bart", "mbart"), "bart"),
    **dict.fromkeys(("t5", "mt5", "umt5"), "t5"),
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma", "smollm3", "granite"), "llama"),
    "gpt_neox": "neox",
    "gpt2": "gpt2",
}
"""Layer type by `model_type`: the models of one row compute alike and differ in shape."""

_ALIASES: Mapping[str, tuple[str, ...]] = {
    "width": ("d_model", "hidden_size", "n_embd", "dim"),
    "vocabulary": ("vocab_size",),
    "heads": ("num_attention_heads", "encoder_attention_heads", "num_heads", "n_head"),
    "kv_heads": ("num_key_value_heads",),
    "head_width": ("head_dim", "d_kv"),
    "inner": ("intermediate_size", "encoder_ffn_dim", "d_ff", "n_inner"),
    "encoder_layers": ("encoder_layers", "num_layers"),
    "decoder_layers": ("decoder_layers", "num_decoder_layers", "num_layers"),
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "positions": ("max_position_embeddings", "n_positions"),
    "dropout": ("dropout", "dropout_rate", "hidden_dropout", "resid_pdrop"),
}
_TIED = frozenset({"bart", "mbart", "gemma", "gpt2"})
"""Types whose `tie_word_embeddings` is true unless said otherwise; so is t5's, but not in its v1.1 checkpoints."""
_BART_POSITION_OFFSET = 2
_SEQ2SEQ_LORA = {"bart": ("q_proj", "v_proj"), "t5": ("q", "v")}


@dataclass(frozen=True)
class Linear:
    """One linear layer: its name within the block, and its shape."""

    name: str
    inputs: int
    outputs: int
    bias: bool = False

    @property
    def parameters(self) -> int:
        """Weights and bias."""
        return self.outputs * (self.inputs + self.bias)


@dataclass(frozen=True)
class Architecture:
    """All that memory and time depend on."""

    block: Block
    model_type: str
    width: int
    vocabulary: int
    heads: int
    kv_heads: int
    head_width: int
    inner: int
    decoder_inner: int
    encoder_layers: int
    """0 for a causal model."""
    decoder_layers: int
    positions: int
    """Rows of each learned position table; 0 where positions are not learned."""
    tied: bool
    """Whether the output head is the input embedding."""
    gated: bool
    dropout: float
    attention_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    parallel_residual: bool = False
    activation: str = "gelu"
    buckets: int = 0
    """T5's relative position buckets."""
    rotary_share: float = 1.0
    known: bool = field(default=True, compare=False)
    """Whether `model_type` is one of `BLOCKS`; else it is read as the nearest."""

    @property
    def seq2seq(self) -> bool:
        """Whether it has an encoder."""
        return self.encoder_layers > 0

    @property
    def projected(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_width

    def attention(self, prefix: str = "") -> tuple[Linear, ...]:
        """Linear layers of one attention, in the order they run."""
        d, q, kv, bias = self.width, self.projected, self.kv_heads * self.head_width, self.attention_bias
        if self.block == "neox":
            return (Linear("query_key_value", d, 3 * d, bias), Linear("dense", d, d, bias))
        if self.block == "gpt2":
            return (Linear("c_attn", d, 3 * d, bias), Linear("c_proj", d, d, bias))
        names = ("q", "k", "v", "o") if self.block == "t5" else ("q_proj", "k_proj", "v_proj", "o_proj")
        if self.block == "bart":
            names = ("q_proj", "k_proj", "v_proj", "out_proj")
        outs = ((d, q, bias), (d, kv, bias), (d, kv, bias), (q, d, self.output_bias))
        return tuple(Linear(prefix + name, *shape) for name, shape in zip(names, outs, strict=True))

    def feed_forward(self, inner: int | None = None) -> tuple[Linear, ...]:
        """Linear layers of one feed-forward network, in the order they run; the last one returns to the width."""
        d, f, bias = self.width, inner or self.inner, self.mlp_bias
        into: tuple[str, ...]
        into, back = {
            "bart": (("fc1",), "fc2"),
            "t5": (("wi_0", "wi_1") if self.gated else ("wi",), "wo"),
            "llama": (("gate_proj", "up_proj"), "down_proj"),
            "neox": (("dense_h_to_4h",), "dense_4h_to_h"),
            "gpt2": (("c_fc",), "c_proj"),
        }[self.block]
        return (*(Linear(name, d, f, bias) for name in into), Linear(back, f, d, bias))

    def linears(self) -> Iterator[Linear]:
        """Every linear layer of the model but the head."""
        for _ in range(self.encoder_layers):
            yield from self.attention()
            yield from self.feed_forward()
        for _ in range(self.decoder_layers):
            yield from self.attention()
            yield from self.attention("cross.") if self.seq2seq else ()
            yield from self.feed_forward(self.decoder_inner)

    @property
    def norms(self) -> int:
        """Parameters of every norm."""
        norm = self.width * (2 if self.block in {"bart", "neox", "gpt2"} else 1)
        per_head = 2 * self.head_width * self.qk_norm
        stacks = self.encoder_layers * 2 + self.decoder_layers * (3 if self.seq2seq else 2)
        finals = {"bart": 2 + 2 * (self.model_type == "mbart"), "t5": 2}.get(self.block, 1)
        return norm * (stacks + finals) + per_head * self.decoder_layers

    @property
    def tables(self) -> int:
        """Parameters of position tables."""
        if self.block == "t5":
            tables = self.encoder_layers + self.decoder_layers if self.model_type == "umt5" else 2
            return tables * self.buckets * self.heads
        return self.positions * self.width * (2 if self.seq2seq else 1)

    def groups(self) -> dict[str, int]:
        """Parameters by group: `embeddings`, `positions`, `linears`, `norms`, `head` (0 where it is tied)."""
        words = self.vocabulary * self.width
        return {
            "embeddings": words,
            "positions": self.tables,
            "linears": sum(linear.parameters for linear in self.linears()),
            "norms": self.norms,
            "head": 0 if self.tied else words,
        }

    @property
    def parameters(self) -> int:
        """All parameters, a tied head counted once."""
        return sum(self.groups().values())


def read(model: Model) -> Architecture:
    """Read a model's architecture from its configuration, or from `config.json` in its folder.

    Raises:
        UsageError: neither is there, or it lacks a size that memory depends on.

    """
    config = dict(model.config) or _stored(model)
    config |= config.get("text_config") or {}
    kind = str(config.get("model_type", ""))
    seq2seq = bool(config.get("is_encoder_decoder", model.family == "seq2seq"))
    block = BLOCKS.get(kind, "bart" if seq2seq else "llama")
    return _Reader(config, kind, block, seq2seq, model.name).architecture()


def lora_targets(architecture: Architecture, lora: Lora) -> tuple[Linear, ...]:
    """Return every linear layer that gets an adapter: all but the head, or those whose names match.

    Raises:
        UsageError: there is none.

    """
    linears = tuple(architecture.linears())
    found = tuple(linear for linear in linears if is_target(linear.name, architecture, lora))
    if not found:
        names = ", ".join(sorted({linear.name for linear in linears}))
        raise UsageError(f"No layer matches lora.target_modules {lora.target_modules!r:.60}.", f"Choose among {names}.")
    return found


def is_target(name: str, architecture: Architecture, lora: Lora) -> bool:
    """Tell whether the linear layer of this name gets an adapter."""
    wanted = lora.target_modules
    if isinstance(wanted, str) and wanted == "all-linear":
        return True
    patterns = (wanted,) if isinstance(wanted, str) else wanted or _SEQ2SEQ_LORA.get(architecture.block, ())
    last = name.rsplit(".", 1)[-1]
    return any(fnmatch.fnmatchcase(last, pattern.rsplit(".", 1)[-1]) for pattern in patterns)


def lora_parameters(architecture: Architecture, lora: Lora) -> int:
    """Return the trainable parameters of the adapters: r x (inputs + outputs) for each adapted layer."""
    return sum(lora.r * (linear.inputs + linear.outputs) for linear in lora_targets(architecture, lora))


def _stored(model: Model) -> dict[str, Any]:
    path = Path(model.path or "") / "config.json"
    if not model.path or not path.is_file():
        what = f"The architecture of {model.name!r} is not known."
        raise UsageError(what, "Name a preset, or a folder with the model's config.json.")
    return dict(read_json(path))


class _Reader:
    """Looks sizes up under the names that the families use."""

    def __init__(self, config: Mapping[str, Any], kind: str, block: Block, seq2seq: bool, name: str) -> None:
        self.config, self.kind, self.block, self.seq2seq, self.name = config, kind, block, seq2seq, name

    def get(self, what: str, default: float | None = None) -> float:
        for key in _ALIASES[what]:
            if self.config.get(key) is not None:
                return self.config[key]  # type: ignore[no-any-return]
        if default is None:
            message = f"The configuration of {self.name!r} has no {' or '.join(_ALIASES[what])}."
            raise UsageError(message, "Give the model's whole transformers configuration.")
        return default

    def flag(self, key: str, default: bool) -> bool:
        value = self.config.get(key)
        return default if value is None else bool(value)

    def architecture(self) -> Architecture:
        width, heads = int(self.get("width")), int(self.get("heads"))
        inner = int(self.get("inner", 4 * width if self.block == "gpt2" else None))
        neox_or_old = self.block in {"bart", "neox", "gpt2"}
        bias = self.flag("attention_bias", neox_or_old)
        return Architecture(
            block=self.block,
            model_type=self.kind,
            width=width,
            vocabulary=int(self.get("vocabulary")),
            heads=heads,
            kv_heads=int(self.get("kv_heads", heads)),
            head_width=int(self.get("head_width", width // heads)),
            inner=inner,
            decoder_inner=int(self.config.get("decoder_ffn_dim") or inner),
            encoder_layers=int(self.get("encoder_layers")) if self.seq2seq else 0,
            decoder_layers=int(self.get("decoder_layers" if self.seq2seq else "layers")),
            positions=self.positions(),
            tied=self.flag("tie_word_embeddings", self.kind in _TIED or self.kind == "t5"),
            gated=self.block == "llama" or "gated" in str(self.config.get("feed_forward_proj", "")),
            dropout=float(self.get("dropout", 0.1 if self.seq2seq else 0.0)),
            attention_bias=bias or self.kind == "qwen2",
            output_bias=bias,
            mlp_bias=self.flag("mlp_bias", neox_or_old),
            qk_norm=self.kind == "qwen3",
            parallel_residual=self.block == "neox" and self.flag("use_parallel_residual", default=True),
            activation=self.activation(),
            buckets=int(self.config.get("relative_attention_num_buckets") or 32) if self.block == "t5" else 0,
            rotary_share=self.rotary_share(),
            known=self.kind in BLOCKS,
        )

    def positions(self) -> int:
        learned = {"bart": _BART_POSITION_OFFSET, "gpt2": 0}
        return int(self.get("positions")) + learned[self.block] if self.block in learned else 0

    def rotary_share(self) -> float:
        sections = (self.config.get("rope_parameters") or {}, self.config)
        said = [section.get(key) for section in sections for key in ("rotary_pct", "partial_rotary_factor")]
        return float(next((share for share in said if share is not None), 0.25 if self.block == "neox" else 1.0))

    def activation(self) -> str:
        if self.block == "t5":
            name = str(self.config.get("feed_forward_proj", "relu")).removeprefix("gated-")
            return "gelu_new" if self.config.get("feed_forward_proj") == "gated-gelu" else name
        defaults = {"bart": "gelu", "llama": "silu", "neox": "gelu", "gpt2": "gelu_new"}
        keys = ("hidden_act", "activation_function", "hidden_activation")
        return str(next((self.config[k] for k in keys if self.config.get(k)), defaults[self.block]))
