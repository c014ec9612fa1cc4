"""The workload: what a search must not change. Plain data, JSON-ready both ways."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Family = Literal["causal", "seq2seq"]
_NO_PART = ("notes", "recipe_batch", "taken")
"""Fields that the digest leaves out."""


@dataclass(frozen=True)
class Model:
    """A model by its architecture, so that it can be built with no hub and no weights."""

    name: str
    hub_id: str
    family: Family
    config: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the transformers configuration, `model_type` among them. Empty: read from `path`."""
    parameters: int | None = None
    """Published parameter count, for checking what was built."""
    path: str | None = None
    """Local folder with configuration, and perhaps weights and tokenizer."""
    trust_remote_code: bool = False


@dataclass(frozen=True)
class Lora:
    """Adapter of the `lora` method."""

    r: int = 16
    alpha: int = 32
    dropout: float = 0.05
    target_modules: tuple[str, ...] | str = "all-linear"
    modules_to_save: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lengths:
    """Token lengths of the data, as quantiles: entry i of n is the i/(n-1) quantile, so the last is the longest."""

    source: tuple[int, ...]
    target: tuple[int, ...] = ()
    """Empty for a causal model, whose `source` is the whole sequence."""
    estimated: bool = False
    """Whether they come from an estimate and not from the model's tokenizer."""


@dataclass(frozen=True)
class Generation:
    """How evaluation generates."""

    num_beams: int = 4
    max_new_tokens: int = 128


@dataclass(frozen=True)
class Data:
    """Where the samples are."""

    path: str
    text_column: str = "text"
    summary_column: str | None = None
    digest: str = ""
    """Of the content, for the fingerprint."""
    longest_index: int | None = None
    """Index of the sample with the most tokens."""
    samples: int | None = None
    """How many there are."""


@dataclass(frozen=True)
class Workload:
    """Model, method, data and recipe: everything but the settings under search."""

    model: Model
    method: Literal["full", "lora"] = "full"
    quantization: Literal["none", "int8", "nf4"] = "none"
    lora: Lora = field(default_factory=Lora)
    lengths: Lengths = field(default_factory=lambda: Lengths((128,) * 5))
    max_source_length: int = 512
    max_target_length: int | None = None
    effective_batch: int | None = 16
    """Samples per optimizer step over all devices, held exactly; None where the user freed it."""
    train_samples: int = 10_000
    eval_samples: int = 500
    epochs: float = 1.0
    generation: Generation | None = None
    """None: evaluation computes the loss alone."""
    data: Data | None = None
    """None: random tokens with the lengths above."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Other TrainingArguments of the full run (learning_rate, warmup_steps, ...): applied, never searched."""
    script: tuple[str, ...] | None = None
    """The user's own command line, where that is the probe."""
    recipe_batch: int | None = None
    """Effective batch that the recipe was made for, where another may be chosen. No part of the digest."""
    taken: tuple[str, ...] | None = None
    """Settings that a loop of the user's own asks for; None where it is no such loop. No part of the digest."""
    notes: tuple[str, ...] = ()
    """Sentences a person should see: what was clamped or estimated. No part of the digest."""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Workload:
        """Read what `to_dict` wrote."""
        values = dict(data)
        values["model"] = Model(**values["model"])
        lora = dict(values["lora"])
        for name in ("target_modules", "modules_to_save"):
            lora[name] = lora[name] if isinstance(lora[name], str) else tuple(lora[name])
        values["lora"] = Lora(**lora)
        lengths = values["lengths"]
        values["lengths"] = Lengths(tuple(lengths["source"]), tuple(lengths["target"]), lengths["estimated"])
        values["generation"] = Generation(**values["generation"]) if values["generation"] else None
        values["data"] = Data(**values["data"]) if values["data"] else None
        values["script"] = tuple(values["script"]) if values["script"] else None
        values["taken"] = tuple(values["taken"]) if values.get("taken") is not None else None
        values["notes"] = tuple(values.get("notes", ()))
        return cls(**values)

    @property
    def digest(self) -> str:
        """A stable name for this workload: 16 hexadecimal digits."""
        data = {name: value for name, value in self.to_dict().items() if name not in _NO_PART}
        text = json.dumps(data, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
