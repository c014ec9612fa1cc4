"""From what a person calls a model to a workload: a preset, a workload file, a local folder, a hub id in the cache."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from autobatch.errors import UsageError
from autobatch.safe_files import read_json
from autobatch.workload import lengths, presets
from autobatch.workload.check import check_config
from autobatch.workload.positions import clamp
from autobatch.workload.spec import Family, Model, Workload

Method = Literal["full", "lora"]
Quantization = Literal["none", "int8", "nf4"]

_SOURCE_LENGTH = 1024
_TARGET_LENGTH = 200
_ASSUMED: Mapping[str, Mapping[str, Any]] = {
    "source": {"median": 300, "sigma": 0.5, "shortest": 32},
    "target": {"median": 48, "sigma": 0.45, "shortest": 8},
}
"""Lengths where nothing is known of the data: an assumption, said to the person."""
_ENCODER_DECODERS = frozenset(
    {"bart", "mbart", "pegasus", "t5", "mt5", "umt5", "longt5", "led", "m2m_100", "marian", "blenderbot", "prophetnet"},
)
_NOT_THE_SHAPE = frozenset(
    {"_name_or_path", "architectures", "auto_map", "dtype", "torch_dtype", "transformers_version"}
)
_OWN_CODE = "The model brings Python code of its own, which is run only with --trust-remote-code."
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_REVISION = re.compile(r"[0-9a-f]{7,64}")


def resolve(
    model: str,
    *,
    method: str | None = None,
    quantization: Quantization | None = None,
    trust_remote_code: bool = False,
) -> Workload:
    """Return the workload of a model by preset name, workload file (`*.yaml`), local folder or cached hub id.

    Args:
        model: what the person called it.
        method: `full`, `lora` or `qlora` (= `lora` on an nf4 base) in place of the workload's own.
        quantization: of the frozen base, in place of the workload's own.
        trust_remote_code: whether the model's own Python code may be run by the probe.

    Raises:
        UsageError: there is no such model here, it cannot be trained by this tool, or the method is none.

    """
    workload = _with_method(_found(model), method, quantization)
    if not trust_remote_code:
        return workload
    notes = tuple(note for note in workload.notes if note != _OWN_CODE)
    return replace(workload, model=replace(workload.model, trust_remote_code=True), notes=notes)


def from_folder(folder: Path, name: str | None = None) -> Workload:
    """Return a workload with default recipe for the model in a folder, its `config.json` read as plain data.

    Raises:
        UsageError: there is no configuration, or it is of no language model of the two families.

    """
    config = read_json(folder / "config.json")
    try:
        check_config(config)
    except ValueError as error:
        message = f"{folder / 'config.json'} describes no model: {error}."
        raise UsageError(message, "Correct it, or save the model again with save_pretrained().") from error
    family = family_of(config, str(folder))
    shape = {key: value for key, value in config.items() if key not in _NOT_THE_SHAPE}
    called = (name or folder.resolve().name).rpartition("/")[2]
    model = Model(called, name or "", family, config=shape, path=str(folder.resolve()))
    source, target, notes = clamp(model, _SOURCE_LENGTH, _TARGET_LENGTH if family == "seq2seq" else None)
    assumed = f"{lengths.UNKNOWN}: up to {source} tokens are assumed; --data measures them."
    return Workload(
        model=model,
        lengths=lengths.assumed(_ASSUMED, source, target),
        max_source_length=source,
        max_target_length=target,
        notes=(*notes, assumed, *([_OWN_CODE] if "auto_map" in config else [])),
    )


def family_of(config: Mapping[str, Any], name: str) -> Family:
    """Return the family of a transformers configuration.

    Raises:
        UsageError: it is neither an encoder-decoder nor a causal language model.

    """
    architectures = config.get("architectures")
    first = str(architectures[0]) if isinstance(architectures, list) and architectures else "unnamed model"
    if config.get("is_encoder_decoder") is True or config.get("model_type") in _ENCODER_DECODERS:
        return "seq2seq"
    if first.endswith(("ForCausalLM", "LMHeadModel")):
        return "causal"
    what = f"{name} holds a {first}: neither an encoder-decoder nor a causal language model."
    raise UsageError(what, "Name a model that writes text; `autobatch models` lists presets.")


def cached(hub_id: str) -> Path | None:
    """Return the folder of a hub id's main revision in the local Hugging Face cache, or None."""
    repository = _cache() / f"models--{hub_id.replace('/', '--')}"
    try:
        revision = (repository / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    folder = repository / "snapshots" / revision
    return folder if _REVISION.fullmatch(revision) and (folder / "config.json").is_file() else None


def _found(model: str) -> Workload:
    if model.endswith((".yaml", ".yml")):
        return presets.read(Path(model))
    preset = presets.find(model)
    if _is_directory(model) and (preset is None or "/" in model or (Path(model) / "config.json").is_file()):
        workload = _of_directory(Path(model))
        both = f"{model} is taken for the folder of that name here, not for the preset {preset}."
        return replace(workload, notes=(both, *workload.notes)) if preset else workload
    if preset:
        return _with_weights(presets.load(model))
    folder = cached(model) if _HUB_ID.fullmatch(model) else None
    if folder:
        return from_folder(folder, model)
    raise _unknown(model)


def _is_directory(name: str) -> bool:
    try:
        return bool(name) and Path(name).is_dir()
    except OSError:  # too long for a name, or in a folder that is closed to us
        return False


def _of_directory(folder: Path) -> Workload:
    if (folder / "config.json").is_file():
        return from_folder(folder)
    what = f"The folder {folder} holds no config.json."
    raise UsageError(what, "Name the folder that a model was saved to with save_pretrained().")


def _unknown(model: str) -> UsageError:
    near = presets.nearest(model)
    did_you_mean = f"Did you mean {near}? " if near else ""
    if _HUB_ID.fullmatch(model):
        what = f"{model} is no preset, and it is not in the local Hugging Face cache ({_cache()})."
        return UsageError(what, f"{did_you_mean}`hf download {model}` fetches it; `autobatch models` lists presets.")
    what = f"There is no model {model!r}: no preset and no folder of that name."
    return UsageError(what, f"{did_you_mean}`autobatch models` lists presets.")


def _with_weights(workload: Workload) -> Workload:
    """Return the workload on the model in the cache, where it is there: what is trained has that one's shape."""
    folder = cached(workload.model.hub_id)
    if folder is None:
        return workload
    stored = from_folder(folder, workload.model.hub_id).model
    model = replace(workload.model, config=stored.config, path=stored.path)
    source, target, notes = clamp(model, workload.max_source_length, workload.max_target_length)
    return replace(
        workload,
        model=model,
        lengths=lengths.clip(workload.lengths, source, target),
        max_source_length=source,
        max_target_length=target,
        notes=(*notes, *workload.notes),
    )


def _cache() -> Path:
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def _with_method(workload: Workload, method: str | None, quantization: Quantization | None) -> Workload:
    asked = method or workload.method
    if asked not in {"full", "lora", "qlora"}:
        raise UsageError(f"There is no method {method!r}.", "Choose full, lora or qlora.")
    default: Quantization = "nf4" if asked == "qlora" else workload.quantization
    chosen = quantization or ("none" if asked == "full" else default)
    if asked == "full" and chosen != "none":
        what = f"A base quantised to {chosen} cannot be trained in full."
        raise UsageError(what, "Ask for the method lora, or leave the quantisation out.")
    kind: Method = "full" if asked == "full" else "lora"
    return replace(workload, method=kind, quantization=chosen)
