"""What cannot be in a workload or in a model's configuration, said before anything is computed from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

from autobatch.errors import UsageError
from autobatch.settings import LARGEST_BATCH
from autobatch.workload.spec import Family, Model, Workload

MOST = 2**31 - 1
"""Tokens, samples and widths above this are mistakes."""
MOST_EPOCHS = 1_000_000
MOST_LAYERS = 512
"""No language model has as many; a prediction goes through them one by one."""
_LAYERS = ("num_hidden_layers", "num_layers", "n_layer", "encoder_layers", "decoder_layers")
_SIZES = (
    *_LAYERS, "vocab_size", "hidden_size", "d_model", "n_embd", "num_attention_heads", "num_heads", "n_head",
    "encoder_attention_heads", "decoder_attention_heads", "encoder_ffn_dim", "decoder_ffn_dim", "d_ff", "d_kv",
)  # fmt: skip
"""Keys of a model's configuration that are one whole number from 1 in every architecture that has them."""
_FOLLOWING = (
    "dim", "intermediate_size", "n_inner", "num_key_value_heads", "head_dim", "relative_attention_num_buckets",
)  # fmt: skip
_OPTIONAL = {
    **dict.fromkeys(_FOLLOWING, (1, MOST)),
    "num_decoder_layers": (1, MOST_LAYERS),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), (-1, MOST)),
}
"""Least and most of keys that may be nothing: they follow from the others. Positions may be -1: none is the last."""
_SHARES = (
    "dropout", "dropout_rate", "attention_dropout", "hidden_dropout", "activation_dropout", "resid_pdrop", "rotary_pct",
    "partial_rotary_factor",
)  # fmt: skip
_SECTIONS = ("text_config", "rope_parameters")
"""Keys that hold further keys, of the same meaning as those beside them."""
_RECIPE = {"learning_rate": MOST, "weight_decay": MOST, "max_grad_norm": math.inf, "label_smoothing_factor": 1}
"""Numbers of the recipe, none of them below 0, and the most that each can be."""


def check_config(config: Mapping[str, Any]) -> None:
    """Raise ValueError where a model's configuration, as transformers writes it, has a size that is none."""
    for key in _SIZES:
        if key in config:
            _whole(key, config[key], 1, MOST_LAYERS if key in _LAYERS else MOST)
    for key, (least, most) in _OPTIONAL.items():
        if config.get(key) is not None:
            _whole(key, config[key], least, most)
    for key in _SHARES:
        if config.get(key) is not None:
            _number(key, config[key], 1, may_be_0=True)
    for key in _SECTIONS:
        if config.get(key) is not None:
            check_config(_mapping(key, config[key]))
    name = config.get("model_type", "")
    if not isinstance(name, str):
        raise ValueError(f"model_type is {name!r:.40}, which is no name")  # noqa: TRY004 - the caller tells of values


def check(workload: Workload) -> None:
    """Raise ValueError where a workload that a person wrote has a value of a wrong kind or out of range."""
    _check_model(workload.model)
    _one_of("method", workload.method, ("full", "lora"))
    _one_of("quantization", workload.quantization, ("none", "int8", "nf4"))
    _check_counts(workload)
    _number("epochs", workload.epochs, MOST_EPOCHS)
    _names("notes", workload.notes)
    _names("lora.modules_to_save", workload.lora.modules_to_save)
    if not isinstance(workload.lora.target_modules, str):
        _names("lora.target_modules", workload.lora.target_modules)
    _number("lora.alpha", workload.lora.alpha, MOST)
    _number("lora.dropout", workload.lora.dropout, 1, may_be_0=True)
    for key, most in _RECIPE.items():
        if _mapping("recipe", workload.recipe).get(key) is not None:
            _number(f"recipe.{key}", workload.recipe[key], most, may_be_0=True)
    if workload.data is not None or workload.script is not None or workload.recipe_batch is not None:
        raise ValueError("data, script and recipe_batch are not of this file")


def _check_model(model: Model) -> None:
    check_config(model.config)
    _one_of("family", model.family, get_args(Family))
    if not isinstance(model.hub_id, str) or not isinstance(model.path, str | None):
        raise ValueError("hub_id and path are text")  # noqa: TRY004 - the caller tells of values
    if model.parameters is not None:
        _whole("parameters", model.parameters, 1, 2**63)
    # a file from a stranger must not say that its own code is trusted
    if model.trust_remote_code is not False:
        raise ValueError("trust_remote_code is not of this file, but --trust-remote-code of the command line")


def _check_counts(workload: Workload) -> None:
    _whole("max_source_length", workload.max_source_length, 1)
    if workload.max_target_length is not None:
        _whole("max_target_length", workload.max_target_length, 1)
    for length in (*workload.lengths.source, *workload.lengths.target):
        _whole("lengths.shortest", length, 1)
    if workload.effective_batch is not None:
        _whole("effective_batch", workload.effective_batch, 1)
    _whole("train_samples", workload.train_samples, 1)
    _whole("eval_samples", workload.eval_samples, 0)
    _whole("lora.r", workload.lora.r, 1)
    if workload.generation is not None:
        _whole("generation.num_beams", workload.generation.num_beams, 1)
        _whole("generation.max_new_tokens", workload.generation.max_new_tokens, 1)


def check_batch(workload: Workload) -> None:
    """Check the effective batch against the training samples, where their number is known.

    Raises:
        UsageError: an optimizer step would need more samples than there are.

    """
    batch = workload.effective_batch
    samples = min(workload.train_samples or LARGEST_BATCH, LARGEST_BATCH)
    if batch is not None and batch > samples:
        there = f"{samples:,} training samples" if workload.train_samples else f"{samples:,}, the most there can be"
        what = f"An effective batch of {batch:,} is larger than the {there}."
        raise UsageError(what, f"Give --effective-batch from 1 to {samples}, or more data.")


def _whole(name: str, value: object, least: int, most: int = MOST) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} is {value!r:.40}, not a whole number from {least} to {most:,}")


def _number(name: str, value: object, most: float, *, may_be_0: bool = False) -> None:
    least = "from" if may_be_0 else "above"
    # `nan` is not in the range either
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most
    if not good or (value == 0 and not may_be_0):
        raise ValueError(f"{name} is {value!r:.40}, not a number {least} 0 and up to {most:,}")


def _mapping(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} is {value!r:.40}, which holds no keys")  # noqa: TRY004 - the caller tells of values
    return value


def _names(name: str, value: object) -> None:
    if not isinstance(value, tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{name} is {value!r:.40}, not a list of text")


def _one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} is {value!r:.40}, not one of {', '.join(known)}")
